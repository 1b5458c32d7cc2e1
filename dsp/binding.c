/* Python's door to the kernel, the port and the engine: the module dsp._engine.
 *
 * Only Callback objects are called in the audio thread. They hold every buffer that they touch from construction on, take no
 * arguments, and create no Python object: no allocation, no bytecode, no GIL change.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "vigil.h"

static PyObject *raise_error(int error) {
    PyErr_SetString(error == NV_E_MEMORY ? PyExc_MemoryError : PyExc_ValueError, nv_error_text(error));
    return NULL;
}

/* ---- named tuples -------------------------------------------------------------------------------------------------------- */

static PyObject *meters_type, *param_type;

/* Makes collections.namedtuple(name, fields) and adds it to the module; `fields` are separated by spaces. A new reference. */
static PyObject *add_record_type(PyObject *module, const char *name, const char *fields) {
    PyObject *collections = PyImport_ImportModule("collections");
    PyObject *type = collections ? PyObject_CallMethod(collections, "namedtuple", "ss", name, fields) : NULL;
    Py_XDECREF(collections);
    PyObject *own = type ? PyModule_GetNameObject(module) : NULL;
    if (!own || PyObject_SetAttrString(type, "__module__", own) < 0 || PyModule_AddObjectRef(module, name, type) < 0) Py_CLEAR(type);
    Py_XDECREF(own);
    return type;
}

/* A named tuple of these values, whose references it takes. */
static PyObject *new_record(PyObject *type, PyObject **values, size_t count) {
    PyObject *record = PyErr_Occurred() ? NULL : PyObject_Vectorcall(type, values, count, NULL);
    for (size_t i = 0; i < count; i++) Py_XDECREF(values[i]);
    return record;
}

/* ---- arrays of float32, by the buffer protocol --------------------------------------------------------------------------- */

/* A C-contiguous float32 buffer of `dimensions` dimensions; shape[] receives them. */
static int get_floats(PyObject *object, Py_buffer *view, int dimensions, Py_ssize_t *shape, int writable, const char *what) {
    if (PyObject_GetBuffer(object, view, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | (writable ? PyBUF_WRITABLE : 0)) < 0) return -1;
    const char *format = view->format ? view->format : "B";
    if (*format == '<' || *format == '=' || *format == '@') format++;
    if (strcmp(format, "f") || view->itemsize != 4 || view->ndim != dimensions) {
        PyErr_Format(PyExc_TypeError, "%s must be a C-contiguous float32 array of %d dimension%s", what, dimensions,
                     dimensions == 1 ? "" : "s");
        PyBuffer_Release(view);
        return -1;
    }
    for (int i = 0; i < dimensions; i++) shape[i] = view->shape[i];
    return 0;
}

/* Row pointers of an IR (channels, taps); raises on a channel count that does not fit into `rows`. */
static int get_ir(PyObject *object, Py_buffer *view, const float **rows, int *channels, int *taps) {
    Py_ssize_t shape[2];
    if (get_floats(object, view, 2, shape, 0, "the IR") < 0) return -1;
    if (shape[0] < 1 || shape[0] > NV_MAX_IR_CHANNELS || shape[1] > INT32_MAX) {
        PyBuffer_Release(view);
        raise_error(shape[1] > INT32_MAX ? NV_E_TAPS : NV_E_CHANNELS);
        return -1;
    }
    *channels = (int)shape[0], *taps = (int)shape[1];
    for (int c = 0; c < *channels; c++) rows[c] = (const float *)view->buf + (size_t)c * (size_t)*taps;
    return 0;
}

static int get_layout(const char *bytes, Py_ssize_t size, nv_layout *layout) {
    if (size != sizeof *layout) {
        raise_error(NV_E_LAYOUT);
        return -1;
    }
    memcpy(layout, bytes, sizeof *layout);
    int error = nv_layout_check(layout);
    if (error) raise_error(error);
    return error ? -1 : 0;
}

/* ---- Port ---------------------------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    Py_buffer view;
    nv_port *port;
} PortObject;

static void port_dealloc(PortObject *self) {
    if (self->port) PyBuffer_Release(&self->view);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *port_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"memory", "layout", "ir_channels", "rate_hz", NULL};
    PyObject *memory;
    const char *layout_bytes = NULL;
    Py_ssize_t layout_size = 0;
    int ir_channels = NV_MAX_IR_CHANNELS, error;
    unsigned rate_hz = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|z#iI", names, &memory, &layout_bytes, &layout_size, &ir_channels, &rate_hz))
        return NULL;
    PortObject *self = (PortObject *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    if (PyObject_GetBuffer(memory, &self->view, PyBUF_WRITABLE) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->port = self->view.buf;
    if (layout_bytes) {
        nv_layout layout;
        if (get_layout(layout_bytes, layout_size, &layout) < 0) {
            Py_DECREF(self);
            return NULL;
        }
        error = nv_port_create(self->port, (size_t)self->view.len, &layout, ir_channels, rate_hz);
    } else {
        error = nv_port_check(self->port, (size_t)self->view.len);
    }
    if (error) {
        Py_DECREF(self);
        return raise_error(error);
    }
    return (PyObject *)self;
}

static int is_param(PyObject *name) {
    for (int i = 0; i < NV_PARAMS_USED; i++)
        if (PyUnicode_Check(name) && !PyUnicode_CompareWithASCIIString(name, nv_param_table[i].name)) return 1;
    return 0;
}

static PyObject *port_set_params(PortObject *self, PyObject *values) {
    float params[NV_PARAMS] = {0};
    if (!PyDict_Check(values)) return PyErr_Format(PyExc_TypeError, "parameters must be a dict of names and values");
    for (int i = 0; i < NV_PARAMS_USED; i++) {
        const char *name = nv_param_table[i].name;
        PyObject *value = PyDict_GetItemString(values, name);
        if (!value) return PyErr_Format(PyExc_ValueError, "parameter %s is missing", name);
        double number = PyFloat_AsDouble(value);
        if (PyErr_Occurred()) return NULL;
        if (!isfinite(number)) return PyErr_Format(PyExc_ValueError, "parameter %s is not finite", name);
        params[i] = (float)number;
    }
    PyObject *name, *value;
    for (Py_ssize_t at = 0; PyDict_Next(values, &at, &name, &value);)
        if (!is_param(name)) return PyErr_Format(PyExc_ValueError, "the engine has no parameter %R", name);
    nv_port_set_params(self->port, params);
    Py_RETURN_NONE;
}

static PyObject *port_params(PortObject *self, PyObject *Py_UNUSED(ignored)) {
    float params[NV_PARAMS];
    if (!nv_port_get_params(self->port, params)) Py_RETURN_NONE;
    PyObject *dict = PyDict_New();
    for (int i = 0; dict && i < NV_PARAMS_USED; i++) {
        PyObject *value = PyFloat_FromDouble(params[i]);
        if (!value || PyDict_SetItemString(dict, nv_param_table[i].name, value) < 0) Py_CLEAR(dict);
        Py_XDECREF(value);
    }
    return dict;
}

static PyObject *port_load_ir(PortObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"ir", "room", NULL};
    PyObject *object;
    unsigned long long room = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|K", names, &object, &room)) return NULL;
    Py_buffer view;
    const float *ir[NV_MAX_IR_CHANNELS];
    int channels, taps;
    if (get_ir(object, &view, ir, &channels, &taps) < 0) return NULL;
    nv_port *port = self->port;
    size_t bytes = 0;
    int error = NV_E_TAPS, slot = -1;
    uint64_t serial = 0;
    Py_BEGIN_ALLOW_THREADS
    if (taps >= 1 && taps <= (int)port->layout.max_taps) {
        bytes = nv_spectra_bytes(&port->layout, channels, taps);
        slot = nv_port_begin_ir(port);
        if (slot < 0 || bytes > port->slot_bytes)
            error = slot < 0 ? NV_E_BUSY : NV_E_SIZE;
        else if (!(error = nv_port_make_room(port, slot, bytes)))
            error = nv_prepare(&port->layout, ir, channels, taps, nv_port_spectra(port, slot), port->slot_bytes);
        if (!error)
            serial = nv_port_publish_ir(port, slot, channels, bytes, room);
        else if (slot >= 0)
            nv_port_cancel_ir(port, slot);
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&view);
    return error ? raise_error(error) : PyLong_FromUnsignedLongLong(serial);
}

static PyObject *port_recover_steering(PortObject *self, PyObject *Py_UNUSED(ignored)) {
    nv_port_recover_steering(self->port);
    Py_RETURN_NONE;
}

static PyObject *port_hold(PortObject *self, PyObject *Py_UNUSED(ignored)) {
    nv_port_hold(self->port);
    Py_RETURN_NONE;
}

static PyObject *port_held(PortObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromUnsignedLongLong(atomic_load_explicit(&self->port->slot[0].held, memory_order_relaxed));
}

static PyObject *port_newest_room(PortObject *self, PyObject *Py_UNUSED(ignored)) {
    uint64_t best = 0, room = 0;
    for (int i = 0; i < NV_SLOTS; i++) {
        const nv_port_slot *s = &self->port->slot[i];
        uint32_t state = atomic_load_explicit(&s->state, memory_order_acquire);
        uint64_t serial = atomic_load_explicit(&s->serial, memory_order_relaxed);
        if (state >= NV_SLOT_READY && serial > best) best = serial, room = s->room;
    }
    return PyLong_FromUnsignedLongLong(room);
}

static uint64_t read_wide(_Atomic uint64_t *meter, int take) {
    return take ? atomic_exchange_explicit(meter, 0, memory_order_relaxed) : atomic_load_explicit(meter, memory_order_acquire);
}

static PyObject *read_peaks(_Atomic uint32_t *meter, int take) {
    float peaks[2];
    for (int c = 0; c < 2; c++) {
        uint32_t bits = take ? atomic_exchange_explicit(&meter[c], 0, memory_order_relaxed)
                             : atomic_load_explicit(&meter[c], memory_order_relaxed);
        memcpy(&peaks[c], &bits, sizeof bits);
    }
    return Py_BuildValue("(ff)", peaks[0], peaks[1]);
}

static PyObject *port_meters(PortObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"take", NULL};
    int take = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|p", names, &take)) return NULL;
    nv_meters *m = &self->port->meters;
#define COUNTER(name) PyLong_FromUnsignedLongLong(read_wide(&m->name, 0)),
#define MAXIMUM(name) PyLong_FromUnsignedLongLong(read_wide(&m->name, take)),
#define PEAKS(name) read_peaks(m->name, take),
#define NUMBER(name) PyLong_FromUnsignedLong(atomic_load(&m->name)),
#define FLAG(name) PyBool_FromLong(atomic_load(&m->name) != 0),
    PyObject *values[] = {NV_METERS(COUNTER, MAXIMUM, PEAKS, NUMBER, FLAG)};
#undef COUNTER
#undef MAXIMUM
#undef PEAKS
#undef NUMBER
#undef FLAG
    return new_record(meters_type, values, sizeof values / sizeof *values);
}

static PyObject *port_watch(PortObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"signals", "seconds", "keeper", "ping_s", NULL};
    PyObject *numbers;
    double seconds, ping_s = 0;
    nv_vigil vigil = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Od|zd", names, &numbers, &seconds, &vigil.keeper, &ping_s)) return NULL;
    PyObject *list = PySequence_Fast(numbers, "signals must be iterable");
    if (!list) return NULL;
    sigemptyset(&vigil.signals);
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(list); i++) {
        long number = PyLong_AsLong(PySequence_Fast_GET_ITEM(list, i));
        if (!PyErr_Occurred() && sigaddset(&vigil.signals, (int)number)) PyErr_Format(PyExc_ValueError, "no signal: %ld", number);
    }
    Py_DECREF(list);
    if (!PyErr_Occurred() && !(seconds >= 0 && seconds <= 1e9 && ping_s >= 0 && ping_s <= 1e9))
        PyErr_SetString(PyExc_ValueError, "seconds and ping_s: from 0 to 1e9");
    if (PyErr_Occurred()) return NULL;
    vigil.seconds = seconds, vigil.ping_s = ping_s;
    int number;
    Py_BEGIN_ALLOW_THREADS
    number = nv_vigil_keep(&vigil, self->port);
    Py_END_ALLOW_THREADS
    return PyLong_FromLong(number);
}

static PyObject *port_layout(PortObject *self, void *Py_UNUSED(closure)) {
    return PyBytes_FromStringAndSize((const char *)&self->port->layout, sizeof self->port->layout);
}
static PyObject *port_rate(PortObject *self, void *Py_UNUSED(closure)) { return PyLong_FromUnsignedLong(self->port->rate_hz); }
static PyObject *port_block(PortObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromUnsignedLong(self->port->layout.block_frames);
}
static PyObject *port_inputs(PortObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromUnsignedLong(self->port->layout.inputs);
}
static PyObject *port_max_taps(PortObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromUnsignedLong(self->port->layout.max_taps);
}

static PyMethodDef port_methods[] = {
    {"set_params", (PyCFunction)port_set_params, METH_O,
     "set_params(values): writes one complete set, a dict with every name of PARAMS, physical units. Raises ValueError naming a\n"
     "parameter that is missing, unknown or not finite. Steering side."},
    {"params", (PyCFunction)port_params, METH_NOARGS, "params() -> dict of the set last written, or None while one is being written."},
    {"load_ir", (PyCFunction)(void (*)(void))port_load_ir, METH_VARARGS | METH_KEYWORDS,
     "load_ir(ir, room=0) -> serial: transforms a float32 IR (1, 2 or 4 channels, taps) into a free slot and hands it over. The\n"
     "GIL is free meanwhile. Raises ValueError for an IR that is too long, has other channels or is not finite, MemoryError. Steering side."},
    {"recover_steering", (PyCFunction)port_recover_steering, METH_NOARGS, "After a crash of the steering side, by its successor."},
    {"hold", (PyCFunction)port_hold, METH_NOARGS,
     "Keeps in memory what rooms have needed so far; longer ones are played from the next look of watch() on. Else all of the port is taken\n"
     "for held. Audio process, before it starts, of a port in a file."},
    {"newest_room", (PyCFunction)port_newest_room, METH_NOARGS, "Fingerprint of the newest IR handed over; 0: none or unknown."},
    {"meters", (PyCFunction)(void (*)(void))port_meters, METH_VARARGS | METH_KEYWORDS,
     "meters(take=False) -> Meters; take=True resets the peaks and the worst time."},
    {"watch", (PyCFunction)(void (*)(void))port_watch, METH_VARARGS | METH_KEYWORDS,
     "watch(signals, seconds, keeper=None, ping_s=0) -> number of a signal, or 0: waits, without the GIL, while blocks come at their\n"
     "pace, for one of these blocked signals or so many seconds; tells the notify socket `keeper` that all is well each ping_s."},
    {0},
};
static PyGetSetDef port_getset[] = {
    {"layout", (getter)port_layout, NULL, "nv_layout as bytes", NULL},
    {"rate_hz", (getter)port_rate, NULL, "sampling rate", NULL},
    {"block_frames", (getter)port_block, NULL, "frames in a block", NULL},
    {"inputs", (getter)port_inputs, NULL, "input channels, 1 or 2", NULL},
    {"held", (getter)port_held, NULL, "bytes of a slot that are held; see hold()", NULL},
    {"max_taps", (getter)port_max_taps, NULL, "longest IR", NULL},
    {0},
};
static PyTypeObject PortType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "dsp._engine.Port",
    .tp_doc = "Port(memory, layout=None, ir_channels=4, rate_hz=0): the port in this writable buffer; with a layout, a new one.",
    .tp_basicsize = sizeof(PortObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = port_new,
    .tp_dealloc = (destructor)port_dealloc,
    .tp_methods = port_methods,
    .tp_getset = port_getset,
};

/* ---- Engine and its three callables -------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    PortObject *port;
    nv_engine *engine;
    Py_buffer in[2], wet[2], dry[2], mixed[2], out[2];
    int pinned;
} EngineObject;

typedef struct {
    PyObject_HEAD
    EngineObject *engine;
    int which;
} CallbackObject;

static void callback_dealloc(CallbackObject *self) {
    Py_XDECREF(self->engine);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *callback_call(CallbackObject *self, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs)) {
    EngineObject *e = self->engine;
    if (self->which == 0) {
        /* pyo's audio thread was not made by Python: each block it would make and destroy a Python thread state (an mmap and a
         * munmap). Held once and never given back, the state stays. */
        if (!e->pinned) e->pinned = 1, PyGILState_Ensure();
        nv_engine_begin(e->engine);
    } else if (self->which == 1) {
        const float *in[2] = {e->in[0].buf, e->in[1].buf};
        float *wet[2] = {e->wet[0].buf, e->wet[1].buf}, *dry[2] = {e->dry[0].buf, e->dry[1].buf};
        nv_engine_process(e->engine, in, wet, dry);
    } else {
        const float *mixed[2] = {e->mixed[0].buf, e->mixed[1].buf};
        float *out[2] = {e->out[0].buf, e->out[1].buf};
        nv_engine_finish(e->engine, mixed, out);
    }
    Py_RETURN_NONE;
}

static PyTypeObject CallbackType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "dsp._engine.Callback",
    .tp_doc = "What pyo's CallAlways calls each block, in the audio thread.",
    .tp_basicsize = sizeof(CallbackObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = (destructor)callback_dealloc,
    .tp_call = (ternaryfunc)callback_call,
};

static void engine_dealloc(EngineObject *self) {
    nv_engine_free(self->engine);
    Py_buffer *all[] = {&self->in[0], &self->in[1], &self->wet[0],   &self->wet[1],   &self->dry[0],
                        &self->dry[1], &self->mixed[0], &self->mixed[1], &self->out[0], &self->out[1]};
    for (int i = 0; i < 10; i++)
        if (all[i]->obj) PyBuffer_Release(all[i]);
    Py_XDECREF(self->port);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* A sequence of `count` float32 buffers of at least `frames` frames each (pyo's tables carry a guard point). */
static int hold(PyObject *sequence, Py_buffer *views, int count, int frames, const char *what) {
    PyObject *list = PySequence_Fast(sequence, what);
    if (!list) return -1;
    int ok = PySequence_Fast_GET_SIZE(list) == count;
    if (!ok) PyErr_Format(PyExc_ValueError, "%s: %zd buffers, not %d", what, PySequence_Fast_GET_SIZE(list), count);
    for (int i = 0; ok && i < count; i++) {
        Py_ssize_t shape[1];
        ok = get_floats(PySequence_Fast_GET_ITEM(list, i), &views[i], 1, shape, 1, what) == 0;
        if (ok && shape[0] < frames) {
            PyErr_Format(PyExc_ValueError, "%s: a buffer of %zd frames, the block has %d", what, shape[0], frames);
            ok = 0;
        }
    }
    Py_DECREF(list);
    return ok ? 0 : -1;
}

static PyObject *engine_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"port", "inputs", "wet", "dry", "mixed", "out", NULL};
    PortObject *port;
    PyObject *inputs, *wet, *dry, *mixed, *out;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!OOOOO", names, &PortType, &port, &inputs, &wet, &dry, &mixed, &out)) return NULL;
    EngineObject *self = (EngineObject *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    Py_INCREF(port);
    self->port = port;
    int frames = (int)port->port->layout.block_frames, error;
    if (hold(inputs, self->in, (int)port->port->layout.inputs, frames, "inputs") < 0 || hold(wet, self->wet, 2, frames, "wet") < 0 ||
        hold(dry, self->dry, 2, frames, "dry") < 0 || hold(mixed, self->mixed, 2, frames, "mixed") < 0 ||
        hold(out, self->out, 2, frames, "out") < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->engine = nv_engine_new(port->port, &error);
    if (!self->engine) {
        Py_DECREF(self);
        return raise_error(error);
    }
    return (PyObject *)self;
}

static PyObject *engine_callback(EngineObject *self, void *which) {
    CallbackObject *callback = (CallbackObject *)CallbackType.tp_alloc(&CallbackType, 0);
    if (!callback) return NULL;
    Py_INCREF(self);
    callback->engine = self;
    callback->which = (int)(intptr_t)which;
    return (PyObject *)callback;
}

static PyGetSetDef engine_getset[] = {
    {"begin", (getter)engine_callback, NULL, "callable: before the block", (void *)0},
    {"process", (getter)engine_callback, NULL, "callable: inputs -> wet, dry", (void *)1},
    {"finish", (getter)engine_callback, NULL, "callable: mixed -> out, meters", (void *)2},
    {0},
};
static PyTypeObject EngineType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "dsp._engine.Engine",
    .tp_doc = "Engine(port, inputs, wet, dry, mixed, out): the engine on these lists of float32 buffers, held for its life.",
    .tp_basicsize = sizeof(EngineObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = engine_new,
    .tp_dealloc = (destructor)engine_dealloc,
    .tp_getset = engine_getset,
};

/* ---- Kernel: the bare convolver, for tests, benches and other hosts in Python --------------------------------------------- */

typedef struct {
    PyObject_HEAD
    nv_kernel *kernel;
    nv_layout layout;
    void *spectra[2]; /* playing and incoming, ours */
} KernelObject;

static void kernel_dealloc(KernelObject *self) {
    if (self->kernel) nv_kernel_free(self->kernel);
    free(self->spectra[0]), free(self->spectra[1]);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *kernel_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"layout", "fade_frames", NULL};
    const char *bytes;
    Py_ssize_t size;
    int fade_frames = 1024, error;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y#|i", names, &bytes, &size, &fade_frames)) return NULL;
    KernelObject *self = (KernelObject *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    if (get_layout(bytes, size, &self->layout) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->kernel = nv_kernel_new(&self->layout, fade_frames, &error);
    if (!self->kernel) {
        Py_DECREF(self);
        return raise_error(error);
    }
    return (PyObject *)self;
}

static PyObject *kernel_load(KernelObject *self, PyObject *object) {
    Py_buffer view;
    const float *ir[NV_MAX_IR_CHANNELS];
    int channels, taps;
    if (nv_kernel_fading(self->kernel)) return raise_error(NV_E_BUSY);
    if (get_ir(object, &view, ir, &channels, &taps) < 0) return NULL;
    int error = taps < 1 || taps > (int)self->layout.max_taps ? NV_E_TAPS : NV_OK;
    void *spectra = NULL;
    if (!error) {
        size_t bytes = (nv_spectra_bytes(&self->layout, channels, taps) + 63) / 64 * 64;
        spectra = aligned_alloc(64, bytes);
        error = spectra ? nv_prepare(&self->layout, ir, channels, taps, spectra, bytes) : NV_E_MEMORY;
    }
    PyBuffer_Release(&view);
    if (!error) error = nv_kernel_load(self->kernel, spectra);
    if (error) {
        free(spectra);
        return raise_error(error);
    }
    /* No crossfade is under way (checked above), so of our two only the playing one is in use. */
    int idle = self->spectra[0] == nv_kernel_playing(self->kernel) ? 1 : 0;
    free(self->spectra[idle]);
    self->spectra[idle] = spectra;
    Py_RETURN_NONE;
}

static PyObject *kernel_process(KernelObject *self, PyObject *args) {
    PyObject *in_object, *out_object;
    if (!PyArg_ParseTuple(args, "OO", &in_object, &out_object)) return NULL;
    Py_buffer in, out;
    Py_ssize_t in_shape[2], out_shape[2], frames = self->layout.block_frames;
    if (get_floats(in_object, &in, 2, in_shape, 0, "in") < 0) return NULL;
    if (get_floats(out_object, &out, 2, out_shape, 1, "out") < 0) {
        PyBuffer_Release(&in);
        return NULL;
    }
    int ok = in_shape[0] == (Py_ssize_t)self->layout.inputs && out_shape[0] == NV_OUTPUTS && in_shape[1] == out_shape[1] &&
             in_shape[1] % frames == 0;
    if (ok) {
        const float *x = in.buf;
        float *y = out.buf;
        Py_ssize_t n = in_shape[1];
        for (Py_ssize_t at = 0; at < n; at += frames) {
            const float *from[2] = {x + at, self->layout.inputs > 1 ? x + n + at : NULL};
            float *to[2] = {y + at, y + n + at};
            nv_kernel_process(self->kernel, from, to);
        }
    } else {
        PyErr_SetString(PyExc_ValueError, "in must be (inputs, n), out (2, n), n a multiple of the block");
    }
    PyBuffer_Release(&in);
    PyBuffer_Release(&out);
    if (!ok) return NULL;
    Py_RETURN_NONE;
}

static PyObject *kernel_reset(KernelObject *self, PyObject *Py_UNUSED(ignored)) {
    nv_kernel_reset(self->kernel);
    Py_RETURN_NONE;
}
static PyObject *kernel_fading(KernelObject *self, void *Py_UNUSED(closure)) {
    return PyBool_FromLong(nv_kernel_fading(self->kernel));
}
static PyObject *kernel_bytes(KernelObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromSize_t(nv_kernel_bytes(self->kernel));
}
static PyMethodDef kernel_methods[] = {
    {"load", (PyCFunction)kernel_load, METH_O, "load(ir): begins the crossfade to a float32 IR (1, 2 or 4 channels, taps)."},
    {"process", (PyCFunction)kernel_process, METH_VARARGS, "process(in, out): float32 (inputs, n) -> (2, n), block by block."},
    {"reset", (PyCFunction)kernel_reset, METH_NOARGS, "Forgets all input; the IR stays."},
    {0},
};
static PyGetSetDef kernel_getset[] = {
    {"fading", (getter)kernel_fading, NULL, "True during a crossfade", NULL},
    {"bytes", (getter)kernel_bytes, NULL, "memory of the kernel, without spectra", NULL},
    {0},
};
static PyTypeObject KernelType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "dsp._engine.Kernel",
    .tp_doc = "Kernel(layout, fade_frames=1024): the convolution kernel alone.",
    .tp_basicsize = sizeof(KernelObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = kernel_new,
    .tp_dealloc = (destructor)kernel_dealloc,
    .tp_methods = kernel_methods,
    .tp_getset = kernel_getset,
};

/* ---- module -------------------------------------------------------------------------------------------------------------- */

static PyObject *plan(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs) {
    static char *names[] = {"block_frames", "max_taps", "inputs", NULL};
    int block_frames, max_taps, inputs = 2;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "ii|i", names, &block_frames, &max_taps, &inputs)) return NULL;
    nv_layout layout;
    memset(&layout, 0, sizeof layout);
    int error = nv_layout_plan(&layout, block_frames, max_taps, inputs);
    return error ? raise_error(error) : PyBytes_FromStringAndSize((const char *)&layout, sizeof layout);
}

static PyObject *stages(PyObject *Py_UNUSED(module), PyObject *args) {
    const char *bytes;
    Py_ssize_t size;
    nv_layout layout;
    if (!PyArg_ParseTuple(args, "y#", &bytes, &size) || get_layout(bytes, size, &layout) < 0) return NULL;
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
    if (!PyArg_ParseTuple(args, "y#|i", &bytes, &size, &ir_channels) || get_layout(bytes, size, &layout) < 0) return NULL;
    return PyLong_FromSize_t(nv_port_bytes(&layout, ir_channels));
}

static PyObject *simd(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored)) { return PyUnicode_FromString(nv_kernel_simd()); }

static PyMethodDef module_methods[] = {
    {"plan", (PyCFunction)(void (*)(void))plan, METH_VARARGS | METH_KEYWORDS,
     "plan(block_frames, max_taps, inputs=2) -> layout, as bytes: how IRs are cut into partitions."},
    {"stages", stages, METH_VARARGS, "stages(layout) -> [(partition_frames, partitions, offset_taps), ...]"},
    {"port_bytes", port_bytes, METH_VARARGS, "port_bytes(layout, ir_channels=4) -> size of a port for it"},
    {"simd", simd, METH_NOARGS, "The kernel's build in use: avx2, sse2, neon or scalar."},
    {0},
};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "dsp._engine", .m_doc = "The kernel, the port and the engine in C.", .m_size = -1, .m_methods = module_methods,
};

/* Adds Meters, Param and PARAMS: name -> Param. */
static int add_records(PyObject *m) {
#define NAME(name) #name " "
    meters_type = add_record_type(m, "Meters", NV_METERS(NAME, NAME, NAME, NAME, NAME));
#undef NAME
    param_type = add_record_type(m, "Param", "default lowest highest");
    PyObject *params = meters_type && param_type ? PyDict_New() : NULL;
    for (int i = 0; params && i < NV_PARAMS_USED; i++) {
        const nv_param_row *row = &nv_param_table[i];
        PyObject *values[] = {PyFloat_FromDouble(row->initial), PyFloat_FromDouble(row->lowest), PyFloat_FromDouble(row->highest)};
        PyObject *param = new_record(param_type, values, 3);
        if (!param || PyDict_SetItemString(params, row->name, param) < 0) Py_CLEAR(params);
        Py_XDECREF(param);
    }
    return params ? PyModule_AddObject(m, "PARAMS", params) : -1;
}

PyMODINIT_FUNC PyInit__engine(void) {
    static const struct {
        const char *name;
        PyTypeObject *type;
    } types[] = {{"Port", &PortType}, {"Engine", &EngineType}, {"Kernel", &KernelType}, {NULL, &CallbackType}};
    PyObject *m = PyModule_Create(&module);
    if (!m) return NULL;
    for (int i = 0; i < 4; i++) {
        if (PyType_Ready(types[i].type) < 0) return NULL;
        if (types[i].name && PyModule_AddObjectRef(m, types[i].name, (PyObject *)types[i].type) < 0) return NULL;
    }
    if (add_records(m) < 0) return NULL;
    PyObject *leave = PyLong_FromVoidPtr((void *)nv_vigil_block_size);
    if (!leave || PyModule_AddObject(m, "LEAVE_AT_NEW_SIZE", leave) < 0) return NULL;
    return m;
}
