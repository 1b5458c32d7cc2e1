/* dsp._engine.Pulses: the single reflections of rooms as sound, for dsp/pulses.py. */
#include "binding.h"
#include "pulses.h"
#include "synthesis.h"

enum { CENTRES, LENGTHS, OCTAVES, REFLECTED, BINS, DENSITY, FADE, WINDOW, NODE, VIEWS };
enum { MOST_TAPS = 1 << 12, MOST_CELLS = 1 << 20 };

typedef struct {
    PyObject_HEAD nv_pulses pulses;
    Py_buffer view[VIEWS];
} PulsesObject;

static void pulses_dealloc(PulsesObject *self) {
    for (int i = 0; i < VIEWS; i++) PyBuffer_Release(&self->view[i]);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static int nodes_fit(const Py_buffer *view, Py_ssize_t bins, Py_ssize_t bands) {
    const char *format = view->format ? view->format : "B";
    if (view->itemsize != 4 || view->ndim != 1 || (*format != 'i' && *format != 'l') || format[1] ||
        view->shape[0] != bins)
        return 0;
    const int32_t *node = view->buf;
    for (Py_ssize_t i = 0; i < bins; i++)
        if (node[i] < 0 || node[i] > bands - 2) return 0;
    return 1;
}

static PyObject *pulses_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"rate_hz", "heard",   "centre_s", "frame_s", "octave", "reflected",
                            "share",   "density", "fade",     "window",  "node",   NULL};
    PyObject *object[VIEWS];
    Py_ssize_t length[VIEWS] = {0};
    int rate_hz, heard;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "iiOOOOOOOOO", names, &rate_hz, &heard,
                                     &object[0], &object[1], &object[2], &object[3], &object[4],
                                     &object[5], &object[6], &object[7], &object[8]))
        return NULL;
    PulsesObject *self = (PulsesObject *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    for (int i = 0; i < NODE && !PyErr_Occurred(); i++)
        binding_floats(object[i], &self->view[i], 1, &length[i], 0, names[i + 2]);
    if (!PyErr_Occurred())
        PyObject_GetBuffer(object[NODE], &self->view[NODE], PyBUF_C_CONTIGUOUS | PyBUF_FORMAT);
    Py_ssize_t frames = length[CENTRES], bands = length[OCTAVES], half = length[FADE];
    if (!PyErr_Occurred() &&
        (rate_hz < 1 || frames < 2 || length[LENGTHS] != frames || bands < 2 ||
         frames > MOST_CELLS / bands || heard < 1 || heard > bands || length[REFLECTED] != bands ||
         length[DENSITY] != bands || half < 1 || half > MOST_CELLS ||
         !nv_is_smooth(2 * (int)half) || length[BINS] != half + 1 || length[WINDOW] > MOST_CELLS ||
         !nodes_fit(&self->view[NODE], half + 1, bands)))
        PyErr_SetString(PyExc_ValueError, "the tables of pulses do not fit");
    if (PyErr_Occurred()) {
        Py_DECREF(self);
        return NULL;
    }
    self->pulses = (nv_pulses){.bands = (int)bands,
                               .frames = (int)frames,
                               .rate_hz = rate_hz,
                               .heard = heard,
                               .centre_s = self->view[CENTRES].buf,
                               .frame_s = self->view[LENGTHS].buf,
                               .octave = self->view[OCTAVES].buf,
                               .reflected = self->view[REFLECTED].buf,
                               .size = 2 * (int)half,
                               .node = self->view[NODE].buf,
                               .share = self->view[BINS].buf,
                               .density_db = self->view[DENSITY].buf,
                               .fade = self->view[FADE].buf,
                               .window_frames = (int)length[WINDOW],
                               .window = self->view[WINDOW].buf};
    return (PyObject *)self;
}

/* Arrays of a call: `dimensions` as digits, 0 for none; those from `results` on are written. */
typedef struct {
    Py_buffer view[4];
    Py_ssize_t shape[4][2];
} Arrays;

static void take_arrays(Arrays *a, PyObject *const *object, int count, int results) {
    *a = (Arrays){0};
    for (int i = 0; i < count && !PyErr_Occurred(); i++)
        binding_floats(object[i], &a->view[i], 2, a->shape[i], i >= results, "an array");
}

static PyObject *finish(Arrays *a, int error) {
    for (int i = 0; i < 4; i++) PyBuffer_Release(&a->view[i]);
    if (PyErr_Occurred()) return NULL;
    if (error) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static int has_shape(const Arrays *a, int i, Py_ssize_t rows, Py_ssize_t columns) {
    if (PyErr_Occurred()) return 0;
    if (a->shape[i][0] == rows && a->shape[i][1] == columns && rows <= MOST_TAPS) return 1;
    PyErr_SetString(PyExc_ValueError, "the arrays do not fit the tables of pulses");
    return 0;
}

/* Of an array [4][count]: time_s, share, side, tilt_db. */
static nv_taps taps_of(const Arrays *a) {
    const float *first = a->view[0].buf;
    size_t count = (size_t)a->shape[0][1];
    return (nv_taps){(int)count, first, first + count, first + 2 * count, first + 3 * count};
}

static int taps_fit(const Arrays *a) {
    if (!PyErr_Occurred() && a->shape[0][1] >= 1 && a->shape[0][1] <= MOST_TAPS)
        return has_shape(a, 0, 4, a->shape[0][1]);
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "there must be 1 to 4096 taps");
    return 0;
}

static PyObject *pulses_split(PulsesObject *self, PyObject *args) {
    enum { TAPS, LEVEL, LEFT, ENERGY, ALL };
    PyObject *object[ALL];
    Arrays a;
    int error = 0;
    const nv_pulses *p = &self->pulses;
    if (!PyArg_ParseTuple(args, "OOOO", &object[0], &object[1], &object[2], &object[3]))
        return NULL;
    take_arrays(&a, object, ALL, LEFT);
    if (taps_fit(&a) && has_shape(&a, LEVEL, p->bands, p->frames) &&
        has_shape(&a, LEFT, p->bands, p->frames) &&
        has_shape(&a, ENERGY, a.shape[TAPS][1], p->bands)) {
        nv_taps taps = taps_of(&a);
        error = nv_split_taps(p, &taps, a.view[LEVEL].buf, a.view[LEFT].buf, a.view[ENERGY].buf);
    }
    return finish(&a, error);
}

static PyObject *pulses_make(PulsesObject *self, PyObject *args) {
    enum { ENERGY, PULSES, ALL };
    PyObject *object[ALL];
    Arrays a;
    int error = 0;
    const nv_pulses *p = &self->pulses;
    if (!PyArg_ParseTuple(args, "OO", &object[0], &object[1])) return NULL;
    take_arrays(&a, object, ALL, PULSES);
    if (has_shape(&a, ENERGY, a.shape[ENERGY][0], p->bands) &&
        has_shape(&a, PULSES, a.shape[ENERGY][0], p->size / 2))
        error = nv_make_pulses(p, (int)a.shape[ENERGY][0], a.view[ENERGY].buf, a.view[PULSES].buf);
    return finish(&a, error);
}

static PyObject *pulses_add(PulsesObject *self, PyObject *args) {
    enum { TAPS, LEFT, ENERGY, SOUND, ALL };
    PyObject *object[ALL];
    Arrays a;
    float width;
    int error = 0;
    const nv_pulses *p = &self->pulses;
    if (!PyArg_ParseTuple(args, "OOOfO", &object[TAPS], &object[LEFT], &object[ENERGY], &width,
                          &object[SOUND]))
        return NULL;
    take_arrays(&a, object, ALL, SOUND);
    if (taps_fit(&a) && has_shape(&a, LEFT, p->bands, p->frames) &&
        has_shape(&a, ENERGY, a.shape[TAPS][1], p->bands) &&
        has_shape(&a, SOUND, 2, a.shape[SOUND][1] <= INT32_MAX / 2 ? a.shape[SOUND][1] : -1)) {
        nv_taps taps = taps_of(&a);
        float *left = a.view[SOUND].buf;
        error = nv_add_taps(p, &taps, a.view[LEFT].buf, a.view[ENERGY].buf, width, left,
                            left + a.shape[SOUND][1], (int)a.shape[SOUND][1]);
    }
    return finish(&a, error);
}

static PyMethodDef pulses_methods[] = {
    {"split", (PyCFunction)pulses_split, METH_VARARGS,
     "split(taps, level_db, left_db, energy_db): see nv_split_taps() in dsp/pulses.h. taps: "
     "(4, count)."},
    {"make", (PyCFunction)pulses_make, METH_VARARGS,
     "make(energy_db, pulses): see nv_make_pulses() in dsp/pulses.h."},
    {"add", (PyCFunction)pulses_add, METH_VARARGS,
     "add(taps, left_db, energy_db, width, sound): see nv_add_taps() in dsp/pulses.h."},
    {0},
};

PyTypeObject binding_pulses_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "dsp._engine.Pulses",
    .tp_basicsize = sizeof(PulsesObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Pulses(rate_hz, heard, centre_s, frame_s, octave, reflected, share, density, fade, "
              "window, node): see dsp/pulses.h.",
    .tp_new = pulses_new,
    .tp_dealloc = (destructor)pulses_dealloc,
    .tp_methods = pulses_methods,
};
