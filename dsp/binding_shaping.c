/* dsp._engine.Falls: how the bands of a room fall, for dsp/shaping.py. */
#include "binding.h"
#include "shaping.h"

enum { EDGES, CENTRES, BLUR, SLOPE, VIEWS };

typedef struct {
    PyObject_HEAD nv_falls falls;
    Py_buffer view[VIEWS];
    int views;
    int32_t *rows; /* owned */
} FallsObject;

static void falls_dealloc(FallsObject *self) {
    while (self->views > 0) PyBuffer_Release(&self->view[--self->views]);
    PyMem_Free(self->rows);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *falls_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"edge_s", "centre_s", "blur", "slope", NULL};
    PyObject *object[VIEWS];
    Py_ssize_t shape[VIEWS][2] = {{0}};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO", names, &object[0], &object[1],
                                     &object[2], &object[3]))
        return NULL;
    FallsObject *self = (FallsObject *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    while (self->views < VIEWS) {
        int i = self->views, dimensions = i < BLUR ? 1 : 2;
        if (binding_floats(object[i], &self->view[i], dimensions, shape[i], 0, names[i]) < 0) break;
        self->views++;
    }
    Py_ssize_t frames = shape[CENTRES][0], early = shape[BLUR][0];
    if (self->views == VIEWS) {
        if (frames < 4 || frames > 1 << 15 || early > frames || shape[EDGES][0] != frames + 1 ||
            shape[BLUR][1] != early || shape[SLOPE][0] != frames || shape[SLOPE][1] != frames)
            PyErr_SetString(PyExc_ValueError, "the arrays of frames do not fit");
        else if (!(self->rows = PyMem_Calloc((size_t)(frames + 4), sizeof *self->rows)))
            PyErr_NoMemory();
    }
    if (PyErr_Occurred()) {
        Py_DECREF(self);
        return NULL;
    }
    int32_t *slope_rows = self->rows + (early + 3) / 4 * 2;
    self->falls = (nv_falls){.frames = (int)frames,
                             .early = (int)early,
                             .edge_s = self->view[EDGES].buf,
                             .centre_s = self->view[CENTRES].buf,
                             .blur = self->view[BLUR].buf,
                             .slope = self->view[SLOPE].buf,
                             .blur_rows = self->rows,
                             .slope_rows = slope_rows};
    nv_find_rows(self->falls.blur, (int)early, self->rows);
    nv_find_rows(self->falls.slope, (int)frames, slope_rows);
    return (PyObject *)self;
}

static PyObject *falls_call(FallsObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"level_db", "direct_db", "decay", "fall_db", "share", NULL};
    enum { LEVEL, DIRECT, FALL, SHARE, ALL };
    static const char *const words[ALL] = {"level_db", "direct_db", "fall_db", "share"};
    PyObject *object[ALL];
    Py_buffer view[ALL] = {{0}};
    Py_ssize_t shape[ALL][2] = {{0}};
    float decay;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOfOO", names, &object[LEVEL], &object[DIRECT],
                                     &decay, &object[FALL], &object[SHARE]))
        return NULL;
    int has_direct = object[DIRECT] != Py_None, error = 0;
    for (int i = 0; i < ALL && !PyErr_Occurred(); i++)
        if (i != DIRECT || has_direct)
            binding_floats(object[i], &view[i], i == LEVEL || i == FALL ? 2 : 1, shape[i],
                           i >= FALL, words[i]);
    if (!PyErr_Occurred()) {
        Py_ssize_t bands = shape[LEVEL][0], frames = self->falls.frames;
        if (bands > 1 << 15 || shape[LEVEL][1] != frames || shape[FALL][0] != bands ||
            shape[FALL][1] != frames + 1 || shape[SHARE][0] != bands ||
            (has_direct && shape[DIRECT][0] != bands) || !(decay > 0 && decay < 1e6f))
            PyErr_SetString(PyExc_ValueError, "the levels do not fit the frames");
        else
            error = nv_find_falls(&self->falls, (int)bands, view[LEVEL].buf, view[DIRECT].buf,
                                  decay, view[FALL].buf, view[SHARE].buf);
    }
    for (int i = 0; i < ALL; i++) PyBuffer_Release(&view[i]);
    if (error) return PyErr_NoMemory();
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

/* Gets int32 of so many numbers from `low` to `high`, each. 0, or -1 with an exception. */
static int take_numbers(PyObject *object, Py_buffer *view, Py_ssize_t count, int low, int high,
                        int writable) {
    int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
    if (PyErr_Occurred() || PyObject_GetBuffer(object, view, flags) < 0) return -1;
    const char *format = view->format ? view->format : "B";
    const int32_t *number = view->buf;
    int fits = view->itemsize == 4 && (*format == 'i' || *format == 'l') && !format[1] &&
               view->len == 4 * count;
    for (Py_ssize_t i = 0; fits && !writable && i < count; i++)
        fits = number[i] >= low && number[i] <= high;
    if (!fits) PyErr_SetString(PyExc_ValueError, "the numbers of frames do not fit");
    return fits ? 0 : -1;
}

/* The bands of a map on these frames; 0 with an exception. */
static Py_ssize_t take_map(PyObject *object, Py_buffer *view, Py_ssize_t frames) {
    Py_ssize_t shape[2];
    if (binding_floats(object, view, 2, shape, 0, "level_db") < 0) return 0;
    if (shape[0] >= 1 && shape[0] <= 1 << 15 && shape[1] == frames) return shape[0];
    PyErr_SetString(PyExc_ValueError, "the levels do not fit the frames");
    return 0;
}

static void take_bands(PyObject *object, Py_buffer *view, Py_ssize_t bands, int writable) {
    Py_ssize_t length;
    if (PyErr_Occurred() || binding_floats(object, view, 1, &length, writable, "an array") < 0)
        return;
    if (length != bands) PyErr_SetString(PyExc_ValueError, "an array has not one number a band");
}

static PyObject *finish(Py_buffer *view, int views, int error) {
    for (int i = 0; i < views; i++) PyBuffer_Release(&view[i]);
    if (PyErr_Occurred()) return NULL;
    if (error) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *falls_reliable(FallsObject *self, PyObject *args) {
    PyObject *level, *last;
    Py_buffer view[2] = {{0}};
    int error = 0;
    if (!PyArg_ParseTuple(args, "OO", &level, &last)) return NULL;
    Py_ssize_t bands = take_map(level, &view[0], self->falls.frames);
    take_numbers(last, &view[1], bands, 0, 0, 1);
    if (!PyErr_Occurred())
        error = nv_find_reliable(&self->falls, (int)bands, view[0].buf, view[1].buf);
    return finish(view, 2, error);
}

static PyObject *falls_lines(FallsObject *self, PyObject *args) {
    PyObject *level, *last, *start, *rate;
    Py_buffer view[4] = {{0}};
    int error = 0;
    if (!PyArg_ParseTuple(args, "OOOO", &level, &last, &start, &rate)) return NULL;
    Py_ssize_t bands = take_map(level, &view[0], self->falls.frames);
    take_numbers(last, &view[1], bands, 0, self->falls.frames - 1, 0);
    take_bands(start, &view[2], bands, 1), take_bands(rate, &view[3], bands, 1);
    if (!PyErr_Occurred())
        error = nv_find_lines(&self->falls, (int)bands, view[0].buf, view[1].buf, view[2].buf,
                              view[3].buf);
    return finish(view, 4, error);
}

static PyObject *falls_stretch(FallsObject *self, PyObject *args) {
    enum { LEVEL, RATE, FRAME, BEYOND, OUT, ALL };
    PyObject *object[ALL];
    Py_buffer view[ALL] = {{0}};
    Py_ssize_t points = 0, shape[2] = {0};
    int error = 0;
    nv_stretch s = {.frames = self->falls.frames};
    if (!PyArg_ParseTuple(args, "OOOOffO", &object[LEVEL], &object[RATE], &object[FRAME],
                          &object[BEYOND], &s.shift_db, &s.depth_db, &object[OUT]))
        return NULL;
    Py_ssize_t bands = take_map(object[LEVEL], &view[LEVEL], s.frames);
    take_bands(object[RATE], &view[RATE], bands, 0);
    if (!PyErr_Occurred())
        binding_floats(object[BEYOND], &view[BEYOND], 1, &points, 0, "beyond_s");
    take_numbers(object[FRAME], &view[FRAME], points, 0, s.frames - 1, 0);
    if (!PyErr_Occurred()) binding_floats(object[OUT], &view[OUT], 2, shape, 1, "out");
    if (!PyErr_Occurred() && (shape[0] != bands || shape[1] < 1 || shape[1] > 1 << 15 ||
                              points != NV_POINTS * shape[1] || !(s.depth_db > 0)))
        PyErr_SetString(PyExc_ValueError, "the map does not fit the points");
    if (!PyErr_Occurred()) {
        s.targets = (int)shape[1], s.frame = view[FRAME].buf, s.beyond_s = view[BEYOND].buf;
        error = nv_stretch_map(&s, (int)bands, view[LEVEL].buf, view[RATE].buf, view[OUT].buf);
    }
    return finish(view, ALL, error);
}

static PyMethodDef falls_methods[] = {
    {"reliable", (PyCFunction)falls_reliable, METH_VARARGS,
     "reliable(level_db, last): see nv_find_reliable() in dsp/shaping.h."},
    {"lines", (PyCFunction)falls_lines, METH_VARARGS,
     "lines(level_db, last, start_db, rate_db_s): see nv_find_lines() in dsp/shaping.h."},
    {"stretch", (PyCFunction)falls_stretch, METH_VARARGS,
     "stretch(level_db, rate_db_s, frame, beyond_s, shift_db, depth_db, out_db): see\n"
     "nv_stretch_map() in dsp/shaping.h."},
    {0},
};

PyTypeObject binding_falls_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "dsp._engine.Falls",
    .tp_basicsize = sizeof(FallsObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Falls(edge_s, centre_s, blur, slope): see dsp/shaping.h. Call it with (level_db, "
              "direct_db or None, decay, fall_db, share); the last two are results.",
    .tp_new = falls_new,
    .tp_dealloc = (destructor)falls_dealloc,
    .tp_call = (ternaryfunc)falls_call,
    .tp_methods = falls_methods,
};
