/* dsp._engine.Synthesis: energy maps to samples, for dsp/synthesis.py. */
#include <stdlib.h>

#include "binding.h"
#include "synthesis.h"

enum { CARRIER, WINDOW, NODE, SHARE, VIEWS };

typedef struct {
    PyObject_HEAD nv_synthesis synthesis;
    nv_band *band;               /* owned */
    Py_buffer *view;             /* owned: VIEWS of each band, which hold its arrays */
    int views, curves; /* how many are held; the largest number of a curve */
} SynthesisObject;

static void synthesis_dealloc(SynthesisObject *self) {
    for (int i = 0; i < self->views; i++) PyBuffer_Release(&self->view[i]);
    PyMem_Free(self->view), PyMem_Free(self->band);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static int is_int32(const Py_buffer *view) {
    const char *format = view->format ? view->format : "B";
    return view->itemsize == 4 && view->ndim == 1 && (*format == 'i' || *format == 'l') &&
           !format[1];
}

/* Takes the arrays of a band, which stay held by `view`. 0, or -1 with an exception. */
static int take_arrays(SynthesisObject *self, nv_band *band, PyObject *const *array) {
    static const char *const names[VIEWS] = {"carrier", "window", "node", "share"};
    Py_ssize_t shape[2], sizes[VIEWS];
    for (int i = 0; i < VIEWS; i++) {
        Py_buffer *view = &self->view[self->views];
        if (i == NODE) {
            if (PyObject_GetBuffer(array[i], view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0)
                return -1;
            self->views++;
            if (!is_int32(view)) {
                PyErr_SetString(PyExc_TypeError, "node must be int32 of one dimension");
                return -1;
            }
            sizes[i] = view->shape[0];
            continue;
        }
        shape[1] = 4;
        if (binding_floats(array[i], view, i == CARRIER ? 2 : 1, shape, 0, names[i]) < 0) return -1;
        self->views++;
        sizes[i] = shape[1] == 4 ? shape[0] : -1;
    }
    const Py_buffer *view = &self->view[self->views - VIEWS];
    band->carrier = view[CARRIER].buf, band->window = view[WINDOW].buf;
    band->node = view[NODE].buf, band->share = view[SHARE].buf;
    int ok = sizes[0] >= 2 && sizes[0] <= INT32_MAX && nv_is_smooth((int)sizes[0]);
    for (int i = 1; i < VIEWS; i++) ok &= sizes[i] == sizes[0];
    band->size = ok ? (int)sizes[0] : 0;
    ok &= band->curve >= 0 && band->first >= 0 && band->first < INT32_MAX - band->size &&
          band->first + band->size <= self->synthesis.frames / 2 + 1;
    for (int i = 0; i < band->size && ok; i++) ok = band->node[i] >= 0;
    if (band->curve > self->curves) self->curves = band->curve;
    if (!ok) PyErr_SetString(PyExc_ValueError, "the arrays of a band do not fit");
    return ok ? 0 : -1;
}

PyObject *binding_curves(PyObject *module, PyObject *args) {
    (void)module;
    enum { LEVEL, PLACE, OUT, AFTER, ALL };
    PyObject *object[ALL];
    Py_buffer view[ALL];
    Py_ssize_t shape[AFTER][2] = {{0}};
    if (!PyArg_ParseTuple(args, "OOOO", &object[LEVEL], &object[AFTER], &object[PLACE],
                          &object[OUT]))
        return NULL;
    static const char *const names[] = {"level_db", "share", "out"};
    int held = 0, error = 0;
    for (; held < AFTER; held++)
        if (binding_floats(object[held], &view[held], held == PLACE ? 1 : 2, shape[held],
                           held == OUT, names[held]) < 0)
            break;
    if (held == AFTER &&
        PyObject_GetBuffer(object[AFTER], &view[AFTER], PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) == 0)
        held++;
    if (held == ALL) {
        Py_ssize_t frames = shape[LEVEL][1], nodes = NV_NODES * frames;
        int fits = is_int32(&view[AFTER]) && shape[LEVEL][0] <= INT32_MAX && frames >= 2 &&
                   frames < INT32_MAX / NV_NODES && shape[PLACE][0] == nodes &&
                   view[AFTER].shape[0] == nodes && shape[OUT][0] == shape[LEVEL][0] &&
                   shape[OUT][1] == nodes;
        const int32_t *after = view[AFTER].buf;
        for (Py_ssize_t i = 0; fits && i < nodes; i++) fits = after[i] >= 1 && after[i] < frames;
        nv_map map = {(int)shape[LEVEL][0], (int)frames, view[LEVEL].buf};
        if (!fits)
            PyErr_SetString(PyExc_ValueError, "the arrays of curves do not fit");
        else
            error = nv_find_curves(&map, after, view[PLACE].buf, view[OUT].buf);
    }
    while (held > 0) PyBuffer_Release(&view[--held]);
    if (error) return PyErr_NoMemory();
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

static PyObject *synthesis_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"frames", "bands", NULL};
    int frames;
    PyObject *bands;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "iO!", names, &frames, &PyTuple_Type, &bands))
        return NULL;
    if (frames < 4 || frames % 2 || !nv_is_smooth(frames / 2)) {
        PyErr_SetString(PyExc_ValueError, "frames / 2 must have the factors 2, 3 and 5 only");
        return NULL;
    }
    SynthesisObject *self = (SynthesisObject *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    size_t count = (size_t)PyTuple_GET_SIZE(bands);
    self->synthesis = (nv_synthesis){.frames = frames, .bands = (int)count};
    self->band = PyMem_Calloc(count + 1, sizeof *self->band);
    self->view = PyMem_Calloc(VIEWS * count + 1, sizeof *self->view);
    self->synthesis.band = self->band;
    int ok = self->band && self->view;
    if (!ok) PyErr_NoMemory();
    for (size_t i = 0; ok && i < count; i++) {
        PyObject *array[VIEWS], *row = PyTuple_GET_ITEM(bands, (Py_ssize_t)i);
        nv_band *band = &self->band[i];
        ok = PyTuple_Check(row) &&
             PyArg_ParseTuple(row, "iiOOOO", &band->curve, &band->first, &array[CARRIER],
                              &array[WINDOW], &array[NODE], &array[SHARE]) &&
             take_arrays(self, band, array) == 0;
        if (!ok && !PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "a band must be a tuple");
    }
    if (ok) return (PyObject *)self;
    Py_DECREF(self);
    return NULL;
}

static PyObject *synthesis_call(SynthesisObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"curves", "middle", "side", "out", NULL};
    enum { CURVES, MIDDLE, SIDE, OUT, ALL };
    PyObject *object[ALL];
    Py_buffer view[ALL];
    Py_ssize_t shape[ALL][2] = {{0}};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO", names, &object[0], &object[1],
                                     &object[2], &object[3]))
        return NULL;
    int held = 0, error = 0;
    for (; held < ALL; held++) {
        int dimensions = held == CURVES || held == OUT ? 2 : 1;
        if (binding_floats(object[held], &view[held], dimensions, shape[held], held == OUT,
                           names[held]) < 0)
            break;
    }
    int half = self->synthesis.frames / 2;
    if (held == ALL) {
        if (shape[CURVES][0] <= self->curves || shape[CURVES][0] > INT32_MAX ||
            shape[CURVES][1] < 2 || shape[CURVES][1] > INT32_MAX ||
            shape[MIDDLE][0] <= half || shape[SIDE][0] <= half || shape[OUT][0] != 2 ||
            shape[OUT][1] > self->synthesis.frames)
            PyErr_SetString(PyExc_ValueError, "curves, gains or out do not fit the bands");
        else {
            float *out = view[OUT].buf;
            error = nv_synthesise(&self->synthesis, view[CURVES].buf, (int)shape[CURVES][0],
                                  (int)shape[CURVES][1], view[MIDDLE].buf, view[SIDE].buf, out,
                                  out + shape[OUT][1], (int)shape[OUT][1]);
        }
    }
    while (held > 0) PyBuffer_Release(&view[--held]);
    if (error) return PyErr_NoMemory();
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

PyTypeObject binding_synthesis_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "dsp._engine.Synthesis",
    .tp_basicsize = sizeof(SynthesisObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Synthesis(frames, bands): see dsp/synthesis.h. bands: tuples (curve, first, "
              "carrier, window, node, share). Call it with (curves, middle, side, out).",
    .tp_new = synthesis_new,
    .tp_dealloc = (destructor)synthesis_dealloc,
    .tp_call = (ternaryfunc)synthesis_call,
};
