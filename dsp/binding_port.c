/* dsp._engine.Port. */
#include <math.h>
#include <string.h>

#include "binding.h"
#include "watchdog.h"

static void port_dealloc(PortObject *self) {
    if (self->port) PyBuffer_Release(&self->view);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *port_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"memory", "layout", "ir_channels", "rate_hz", "block_frames", NULL};
    PyObject *memory;
    const char *layout_bytes = NULL;
    Py_ssize_t layout_size = 0;
    int ir_channels = NV_MAX_IR_CHANNELS, block_frames = 0, error;
    unsigned rate_hz = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|z#iIi", names, &memory, &layout_bytes,
                                     &layout_size, &ir_channels, &rate_hz, &block_frames))
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
        if (binding_layout(layout_bytes, layout_size, &layout) < 0) {
            Py_DECREF(self);
            return NULL;
        }
        error = nv_port_create(self->port, (size_t)self->view.len, &layout, ir_channels, rate_hz);
        if (!error && block_frames) error = nv_port_set_host(self->port, block_frames);
    } else {
        error = nv_port_check(self->port, (size_t)self->view.len);
    }
    if (error) {
        Py_DECREF(self);
        return binding_raise(error);
    }
    return (PyObject *)self;
}

static int is_param(PyObject *name) {
    for (int i = 0; i < NV_PARAMS_USED; i++)
        if (PyUnicode_Check(name) &&
            !PyUnicode_CompareWithASCIIString(name, nv_param_table[i].name))
            return 1;
    return 0;
}

static PyObject *port_set_params(PortObject *self, PyObject *values) {
    float params[NV_PARAMS] = {0};
    if (!PyDict_Check(values))
        return PyErr_Format(PyExc_TypeError, "parameters must be a dict of names and values");
    for (int i = 0; i < NV_PARAMS_USED; i++) {
        const char *name = nv_param_table[i].name;
        PyObject *value = PyDict_GetItemString(values, name);
        if (!value) return PyErr_Format(PyExc_ValueError, "parameter %s is missing", name);
        double number = PyFloat_AsDouble(value);
        if (PyErr_Occurred()) return NULL;
        if (!isfinite(number))
            return PyErr_Format(PyExc_ValueError, "parameter %s is not finite", name);
        params[i] = (float)number;
    }
    PyObject *name, *value;
    for (Py_ssize_t at = 0; PyDict_Next(values, &at, &name, &value);)
        if (!is_param(name))
            return PyErr_Format(PyExc_ValueError, "the engine has no parameter %R", name);
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

/* nv_late_room from an array of floats, or None: stays as it is. 0, or -1 with an exception. */
static int binding_late(PyObject *object, nv_late_room *late) {
    Py_buffer view;
    Py_ssize_t shape[1];
    if (object == Py_None) return 0;
    if (binding_floats(object, &view, 1, shape, 0, "late") < 0) return -1;
    int fits = (size_t)view.len == sizeof *late;
    if (fits) memcpy(late, view.buf, sizeof *late);
    PyBuffer_Release(&view);
    if (!fits) PyErr_Format(PyExc_ValueError, "late must have %zu values", sizeof *late / 4);
    return fits ? 0 : -1;
}

static PyObject *port_load_ir(PortObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"ir", "room", "late", NULL};
    PyObject *object, *late_object = Py_None;
    unsigned long long room = 0;
    nv_late_room late = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|KO", names, &object, &room, &late_object) ||
        binding_late(late_object, &late) < 0)
        return NULL;
    Py_buffer view;
    const float *ir[NV_MAX_IR_CHANNELS];
    int channels, taps;
    if (binding_ir(object, &view, ir, &channels, &taps) < 0) return NULL;
    nv_port *port = self->port;
    size_t bytes = 0;
    int error = NV_E_TAPS, slot = -1;
    uint64_t serial = 0;
    Py_BEGIN_ALLOW_THREADS if (taps >= 1 && taps <= (int)port->layout.max_taps) {
        bytes = nv_spectra_bytes(&port->layout, channels, taps);
        slot = nv_port_begin_ir(port);
        if (slot < 0 || bytes > port->slot_bytes)
            error = slot < 0 ? NV_E_BUSY : NV_E_SIZE;
        else if (!(error = nv_port_reserve(port, slot, bytes)))
            error = nv_prepare(&port->layout, ir, channels, taps, nv_port_spectra(port, slot),
                               port->slot_bytes);
        if (slot >= 0) port->late[slot] = late;
        if (!error)
            serial = nv_port_publish_ir(port, slot, channels, bytes, room);
        else if (slot >= 0)
            nv_port_cancel_ir(port, slot);
    }
    Py_END_ALLOW_THREADS PyBuffer_Release(&view);
    return error ? binding_raise(error) : PyLong_FromUnsignedLongLong(serial);
}

static PyObject *port_recover_control(PortObject *self, PyObject *Py_UNUSED(ignored)) {
    nv_port_recover_control(self->port);
    Py_RETURN_NONE;
}

static PyObject *port_lock_memory(PortObject *self, PyObject *Py_UNUSED(ignored)) {
    nv_port_lock_memory(self->port);
    Py_RETURN_NONE;
}

static PyObject *port_locked_bytes(PortObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromUnsignedLongLong(
        atomic_load_explicit(&self->port->slot[0].locked_bytes, memory_order_relaxed));
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
    return take ? atomic_exchange_explicit(meter, 0, memory_order_relaxed)
                : atomic_load_explicit(meter, memory_order_acquire);
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
    return binding_record(binding_meters_type, values, sizeof values / sizeof *values);
}

static PyObject *port_watch(PortObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"signals", "seconds", "notify", "ping_s", NULL};
    PyObject *numbers;
    double seconds, ping_s = 0;
    nv_watchdog watchdog = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Od|zd", names, &numbers, &seconds,
                                     &watchdog.notify, &ping_s))
        return NULL;
    PyObject *list = PySequence_Fast(numbers, "signals must be a sequence");
    if (!list) return NULL;
    sigemptyset(&watchdog.signals);
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(list); i++) {
        long number = PyLong_AsLong(PySequence_Fast_GET_ITEM(list, i));
        if (!PyErr_Occurred() && sigaddset(&watchdog.signals, (int)number))
            PyErr_Format(PyExc_ValueError, "invalid signal number %ld", number);
    }
    Py_DECREF(list);
    if (!PyErr_Occurred() && !(seconds >= 0 && seconds <= 1e9 && ping_s >= 0 && ping_s <= 1e9))
        PyErr_SetString(PyExc_ValueError, "seconds and ping_s must be from 0 to 1e9");
    if (PyErr_Occurred()) return NULL;
    watchdog.seconds = seconds, watchdog.ping_s = ping_s;
    int number;
    Py_BEGIN_ALLOW_THREADS number = nv_watchdog_wait(&watchdog, self->port);
    Py_END_ALLOW_THREADS return PyLong_FromLong(number);
}

static PyObject *port_layout(PortObject *self, void *Py_UNUSED(closure)) {
    return PyBytes_FromStringAndSize((const char *)&self->port->layout, sizeof self->port->layout);
}
static PyObject *port_rate(PortObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromUnsignedLong(self->port->rate_hz);
}
static PyObject *port_block(PortObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromUnsignedLong(self->port->host_frames);
}
static PyObject *port_engine_frames(PortObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromUnsignedLong(self->port->layout.block_frames);
}
static PyObject *port_added_frames(PortObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromLong(nv_reblock_delay((int)self->port->host_frames));
}
static PyObject *port_inputs(PortObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromUnsignedLong(self->port->layout.inputs);
}
static PyObject *port_max_taps(PortObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromUnsignedLong(self->port->layout.max_taps);
}

static PyMethodDef port_methods[] = {
    {"set_params", (PyCFunction)port_set_params, METH_O,
     "set_params(values): writes one complete set, a dict with every name of PARAMS, physical\n"
     "units. Raises ValueError naming a parameter that is missing, unknown or not finite.\n"
     "Control side."},
    {"params", (PyCFunction)port_params, METH_NOARGS,
     "params() -> dict of the last complete set, or None while one is being written."},
    {"load_ir", (PyCFunction)(void (*)(void))port_load_ir, METH_VARARGS | METH_KEYWORDS,
     "load_ir(ir, room=0, late=None) -> serial: transforms a float32 IR (1, 2 or 4 channels,\n"
     "taps) into a\n"
     "free slot and publishes it. Releases the GIL. Raises ValueError for an IR that is too long,\n"
     "has another number of channels or is not finite, and MemoryError. late: how the room\n"
     "goes on (dsp/latefield.py); None: not at all. Control side."},
    {"recover_control", (PyCFunction)port_recover_control, METH_NOARGS,
     "recover_control(): frees half-written slots. Called after a crash of the control side."},
    {"lock_memory", (PyCFunction)port_lock_memory, METH_NOARGS,
     "lock_memory(): locks as much of each slot as the rooms so far need. A longer room plays\n"
     "after the next check of watch(). Without this call the complete port counts as locked.\n"
     "Called by the audio process before it starts, if the port is a file."},
    {"newest_room", (PyCFunction)port_newest_room, METH_NOARGS,
     "newest_room() -> hash of the newest published IR; 0: none or unknown."},
    {"meters", (PyCFunction)(void (*)(void))port_meters, METH_VARARGS | METH_KEYWORDS,
     "meters(take=False) -> Meters; take=True resets the peaks and the worst time."},
    {"watch", (PyCFunction)(void (*)(void))port_watch, METH_VARARGS | METH_KEYWORDS,
     "watch(signals, seconds, notify=None, ping_s=0) -> signal number or 0: waits without the GIL\n"
     "while blocks arrive at their rate, for one of these blocked signals, at most `seconds`.\n"
     "Sends WATCHDOG=1 to the socket `notify` every ping_s."},
    {0},
};
static PyGetSetDef port_getset[] = {
    {"layout", (getter)port_layout, NULL, "nv_layout as bytes", NULL},
    {"rate_hz", (getter)port_rate, NULL, "sampling rate", NULL},
    {"block_frames", (getter)port_block, NULL, "frames in a block of the host, JACK", NULL},
    {"engine_frames", (getter)port_engine_frames, NULL, "frames in a block of the engine", NULL},
    {"added_frames", (getter)port_added_frames, NULL, "latency, see dsp/reblock.h", NULL},
    {"inputs", (getter)port_inputs, NULL, "input channels, 1 or 2", NULL},
    {"locked_bytes", (getter)port_locked_bytes, NULL,
     "bytes of a slot that are locked; see lock_memory()", NULL},
    {"max_taps", (getter)port_max_taps, NULL, "longest IR", NULL},
    {0},
};
PyTypeObject binding_port_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "dsp._engine.Port",
    .tp_doc = "Port(memory, layout=None, ir_channels=4, rate_hz=0, block_frames=0): the port in "
              "this writable buffer; with a layout, a new one. block_frames: the host's block, if "
              "it is not the layout's.",
    .tp_basicsize = sizeof(PortObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = port_new,
    .tp_dealloc = (destructor)port_dealloc,
    .tp_methods = port_methods,
    .tp_getset = port_getset,
};
