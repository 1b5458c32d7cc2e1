/* The Python module dsp._engine: the kernel, the port and the engine. */
#include "binding.h"

#include <string.h>

#include "kernel.h"
#include "watchdog.h"

PyObject *binding_raise(int error) {
    PyErr_SetString(error == NV_E_MEMORY ? PyExc_MemoryError : PyExc_ValueError,
                    nv_error_text(error));
    return NULL;
}

/* ---- named tuples ---------------------------------------------------------------------------- */

PyObject *binding_meters_type;
static PyObject *param_type;

/* Creates collections.namedtuple(name, fields) and adds it to the module; `fields` are separated by
 * spaces. Returns a new reference. */
static PyObject *add_record_type(PyObject *module, const char *name, const char *fields) {
    PyObject *collections = PyImport_ImportModule("collections");
    PyObject *type =
        collections ? PyObject_CallMethod(collections, "namedtuple", "ss", name, fields) : NULL;
    Py_XDECREF(collections);
    PyObject *own = type ? PyModule_GetNameObject(module) : NULL;
    if (!own || PyObject_SetAttrString(type, "__module__", own) < 0 ||
        PyModule_AddObjectRef(module, name, type) < 0)
        Py_CLEAR(type);
    Py_XDECREF(own);
    return type;
}

/* A named tuple of these values, whose references it takes. */
PyObject *binding_record(PyObject *type, PyObject **values, size_t count) {
    PyObject *record = PyErr_Occurred() ? NULL : PyObject_Vectorcall(type, values, count, NULL);
    for (size_t i = 0; i < count; i++) Py_XDECREF(values[i]);
    return record;
}

/* ---- arguments ------------------------------------------------------------------------------- */

/* A C-contiguous float32 buffer of `dimensions` dimensions; shape[] receives them. */
int binding_floats(PyObject *object, Py_buffer *view, int dimensions, Py_ssize_t *shape,
                   int writable, const char *what) {
    if (PyObject_GetBuffer(object, view,
                           PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | (writable ? PyBUF_WRITABLE : 0)) < 0)
        return -1;
    const char *format = view->format ? view->format : "B";
    if (*format == '<' || *format == '=' || *format == '@') format++;
    if (strcmp(format, "f") || view->itemsize != 4 || view->ndim != dimensions) {
        PyErr_Format(PyExc_TypeError, "%s must be a C-contiguous float32 array of %d dimension%s",
                     what, dimensions, dimensions == 1 ? "" : "s");
        PyBuffer_Release(view);
        return -1;
    }
    for (int i = 0; i < dimensions; i++) shape[i] = view->shape[i];
    return 0;
}

int binding_ir(PyObject *object, Py_buffer *view, const float **rows, int *channels, int *taps) {
    Py_ssize_t shape[2];
    if (binding_floats(object, view, 2, shape, 0, "the IR") < 0) return -1;
    if (shape[0] < 1 || shape[0] > NV_MAX_IR_CHANNELS || shape[1] > INT32_MAX) {
        PyBuffer_Release(view);
        binding_raise(shape[1] > INT32_MAX ? NV_E_TAPS : NV_E_CHANNELS);
        return -1;
    }
    *channels = (int)shape[0], *taps = (int)shape[1];
    for (int c = 0; c < *channels; c++)
        rows[c] = (const float *)view->buf + (size_t)c * (size_t)*taps;
    return 0;
}

int binding_layout(const char *bytes, Py_ssize_t size, nv_layout *layout) {
    if (size != sizeof *layout) {
        binding_raise(NV_E_LAYOUT);
        return -1;
    }
    memcpy(layout, bytes, sizeof *layout);
    int error = nv_layout_check(layout);
    if (error) binding_raise(error);
    return error ? -1 : 0;
}

/* ---- module ---------------------------------------------------------------------------------- */

static PyObject *plan(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs) {
    static char *names[] = {"block_frames", "max_taps", "inputs", NULL};
    int block_frames, max_taps, inputs = 2;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "ii|i", names, &block_frames, &max_taps,
                                     &inputs))
        return NULL;
    nv_layout layout;
    memset(&layout, 0, sizeof layout);
    int error = nv_layout_plan(&layout, block_frames, max_taps, inputs);
    return error ? binding_raise(error)
                 : PyBytes_FromStringAndSize((const char *)&layout, sizeof layout);
}

static PyObject *engine_frames(PyObject *Py_UNUSED(module), PyObject *args) {
    int host_frames;
    if (!PyArg_ParseTuple(args, "i", &host_frames)) return NULL;
    int frames = nv_reblock_frames(host_frames);
    return frames ? PyLong_FromLong(frames)
                  : PyErr_Format(PyExc_ValueError, "blocks of %d to %d frames can be played",
                                 NV_MIN_HOST_FRAMES, NV_MAX_HOST_FRAMES);
}

static PyObject *stages(PyObject *Py_UNUSED(module), PyObject *args) {
    const char *bytes;
    Py_ssize_t size;
    nv_layout layout;
    if (!PyArg_ParseTuple(args, "y#", &bytes, &size) || binding_layout(bytes, size, &layout) < 0)
        return NULL;
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; list && i < layout.stages; i++) {
        const nv_stage *s = &layout.stage[i];
        PyObject *row = Py_BuildValue("(III)", s->partition_frames, s->partitions, s->offset_taps);
        if (!row || PyList_Append(list, row) < 0) Py_CLEAR(list);
        Py_XDECREF(row);
    }
    return list;
}

static PyObject *port_bytes(PyObject *Py_UNUSED(module), PyObject *args) {
    const char *bytes;
    Py_ssize_t size;
    int ir_channels = NV_MAX_IR_CHANNELS;
    nv_layout layout;
    if (!PyArg_ParseTuple(args, "y#|i", &bytes, &size, &ir_channels) ||
        binding_layout(bytes, size, &layout) < 0)
        return NULL;
    return PyLong_FromSize_t(nv_port_bytes(&layout, ir_channels));
}

static PyObject *numbers(const double *values, int count) {
    PyObject *tuple = PyTuple_New(count);
    for (int i = 0; tuple && i < count; i++) {
        PyObject *number = PyFloat_FromDouble(values[i]);
        if (!number) Py_CLEAR(tuple);
        if (tuple) PyTuple_SET_ITEM(tuple, i, number);
    }
    return tuple;
}

static PyObject *late_seam(PyObject *Py_UNUSED(module), PyObject *args) {
    int rate_hz, max_taps, delay[NV_LATE_LINES];
    double frames[NV_LATE_LINES], fall_hz[NV_LATE_FALLS], level_hz[NV_LATE_LEVELS];
    if (!PyArg_ParseTuple(args, "ii", &rate_hz, &max_taps)) return NULL;
    nv_late_delays(rate_hz, delay);
    for (int i = 0; i < NV_LATE_LINES; i++) frames[i] = delay[i];
    nv_late_poles(rate_hz, fall_hz, level_hz);
    /* An error of numbers() passes through. */
    return Py_BuildValue("iiNNN", nv_late_seam(rate_hz, max_taps),
                         rate_hz * NV_LATE_FADE_MS / 1000, numbers(frames, NV_LATE_LINES),
                         numbers(fall_hz, NV_LATE_FALLS), numbers(level_hz, NV_LATE_LEVELS));
}

static PyObject *simd(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored)) {
    return PyUnicode_FromString(nv_kernel_simd());
}

static PyObject *note_at_new_size(PyObject *Py_UNUSED(module), PyObject *args) {
    int descriptor;
    const char *text;
    Py_ssize_t length;
    if (!PyArg_ParseTuple(args, "iy#", &descriptor, &text, &length)) return NULL;
    if (length > NV_WATCHDOG_NOTE_BYTES) {
        PyErr_Format(PyExc_ValueError, "the note has %zd bytes, the most are %d", length,
                     NV_WATCHDOG_NOTE_BYTES);
        return NULL;
    }
    nv_watchdog_note(descriptor, text, (size_t)length);
    Py_RETURN_NONE;
}

static PyObject *keep_block_size(PyObject *Py_UNUSED(module), PyObject *args) {
    unsigned frames;
    if (!PyArg_ParseTuple(args, "I", &frames)) return NULL;
    nv_watchdog_keep_block_size(frames);
    Py_RETURN_NONE;
}

static PyObject *take_port_news(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored)) {
    return PyBool_FromLong(nv_watchdog_take_port());
}

static PyMethodDef module_methods[] = {
    {"plan", (PyCFunction)(void (*)(void))plan, METH_VARARGS | METH_KEYWORDS,
     "plan(block_frames, max_taps, inputs=2) -> bytes: the layout that cuts IRs into partitions."},
    {"engine_frames", engine_frames, METH_VARARGS,
     "engine_frames(block_frames) -> the engine's block for this block of the host, see\n"
     "dsp/reblock.h. Raises ValueError."},
    {"stages", stages, METH_VARARGS,
     "stages(layout) -> [(partition_frames, partitions, offset_taps), ...]"},
    {"port_bytes", port_bytes, METH_VARARGS,
     "port_bytes(layout, ir_channels=4) -> bytes of a port with this layout"},
    {"note_at_new_size", note_at_new_size, METH_VARARGS,
     "note_at_new_size(descriptor, text): what LEAVE_AT_NEW_SIZE writes to this file first."},
    {"keep_block_size", keep_block_size, METH_VARARGS,
     "keep_block_size(frames): LEAVE_AT_NEW_SIZE leaves at another size; before, at none."},
    {"take_port_news", take_port_news, METH_NOARGS,
     "take_port_news() -> True once after NOTE_PORT was called."},
    {"late_seam", late_seam, METH_VARARGS,
     "late_seam(rate_hz, max_taps) -> (seam, fade, delays, fall_hz, level_hz): the frame at which\n"
     "the late field takes over in an engine for IRs of max_taps, 0 if nowhere; how long that\n"
     "takes; the lengths of its lines; the one-poles of its lines and of its input."},
    {"curves", binding_curves, METH_VARARGS,
     "curves(level_db, after, share, out): see nv_find_curves() in dsp/synthesis.h."},
    {"simd", simd, METH_NOARGS, "The kernel's SIMD build in use: avx2, sse2, neon or scalar."},
    {0},
};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "dsp._engine",
    .m_doc = "The kernel, the port and the engine in C.",
    .m_size = -1,
    .m_methods = module_methods,
};

/* Adds Meters, Param and PARAMS: name -> Param. */
static int add_records(PyObject *m) {
#define NAME(name) #name " "
    binding_meters_type = add_record_type(m, "Meters", NV_METERS(NAME, NAME, NAME, NAME, NAME));
#undef NAME
    param_type = add_record_type(m, "Param", "default lowest highest");
    PyObject *params = binding_meters_type && param_type ? PyDict_New() : NULL;
    for (int i = 0; params && i < NV_PARAMS_USED; i++) {
        const nv_param_row *row = &nv_param_table[i];
        PyObject *values[] = {PyFloat_FromDouble(row->initial), PyFloat_FromDouble(row->lowest),
                              PyFloat_FromDouble(row->highest)};
        PyObject *param = binding_record(param_type, values, 3);
        if (!param || PyDict_SetItemString(params, row->name, param) < 0) Py_CLEAR(params);
        Py_XDECREF(param);
    }
    return params ? PyModule_AddObject(m, "PARAMS", params) : -1;
}

/* Adds the address of a C function, for JACK. */
static int add_address(PyObject *m, const char *name, void *function) {
    PyObject *address = PyLong_FromVoidPtr(function);
    return address ? PyModule_AddObject(m, name, address) : -1;
}

PyMODINIT_FUNC PyInit__engine(void) {
    static const struct {
        const char *name;
        PyTypeObject *type;
    } types[] = {{"Port", &binding_port_type},
                 {"Engine", &binding_engine_type},
                 {"Kernel", &binding_kernel_type},
                 {"Synthesis", &binding_synthesis_type},
                 {"Dense", &binding_dense_type},
                 {"Falls", &binding_falls_type},
                 {"Pulses", &binding_pulses_type},
                 {NULL, &binding_callback_type}};
    PyObject *m = PyModule_Create(&module);
    if (!m) return NULL;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (PyType_Ready(types[i].type) < 0) return NULL;
        if (types[i].name && PyModule_AddObjectRef(m, types[i].name, (PyObject *)types[i].type) < 0)
            return NULL;
    }
    if (add_records(m) < 0) return NULL;
    return add_address(m, "LEAVE_AT_NEW_SIZE", (void *)nv_watchdog_block_size) < 0 ||
                   add_address(m, "NOTE_PORT", (void *)nv_watchdog_port) < 0 ||
                   add_address(m, "WHOLE_BLOCK", (void *)nv_watchdog_whole_block) < 0 ||
                   add_address(m, "COUNT", (void *)nv_watchdog_count) < 0
               ? NULL
               : m;
}
