/* dsp._engine.Engine and its three callables.
 *
 * The audio thread calls Callback objects only. They acquire all buffers at construction, take no
 * arguments and create no Python object: no allocation, no bytecode, no GIL change.
 */
#include "binding.h"
#include "engine.h"

typedef struct {
    PyObject_HEAD PortObject *port;
    nv_engine *engine;
    Py_buffer in[2], wet[2], dry[2], mixed[2], out[2];
    int pinned;
} EngineObject;

typedef struct {
    PyObject_HEAD EngineObject *engine;
    int which;
} CallbackObject;

static void callback_dealloc(CallbackObject *self) {
    Py_XDECREF(self->engine);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *callback_call(CallbackObject *self, PyObject *Py_UNUSED(args),
                               PyObject *Py_UNUSED(kwargs)) {
    EngineObject *e = self->engine;
    if (self->which == 0) {
        /* Python did not create pyo's audio thread: each block would create and destroy a Python
         * thread state (an mmap and a munmap). One unpaired PyGILState_Ensure() keeps the state. */
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

PyTypeObject binding_callback_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "dsp._engine.Callback",
    .tp_doc = "Called by pyo's CallAlways in each block, in the audio thread.",
    .tp_basicsize = sizeof(CallbackObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = (destructor)callback_dealloc,
    .tp_call = (ternaryfunc)callback_call,
};

static void engine_dealloc(EngineObject *self) {
    nv_engine_free(self->engine);
    Py_buffer *all[] = {&self->in[0],  &self->in[1],  &self->wet[0],   &self->wet[1],
                        &self->dry[0], &self->dry[1], &self->mixed[0], &self->mixed[1],
                        &self->out[0], &self->out[1]};
    for (int i = 0; i < 10; i++)
        if (all[i]->obj) PyBuffer_Release(all[i]);
    Py_XDECREF(self->port);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* Acquires a sequence of `count` float32 buffers of at least `frames` frames each (pyo's tables
 * have a guard point). */
static int view(PyObject *sequence, Py_buffer *views, int count, int frames, const char *what) {
    PyObject *list = PySequence_Fast(sequence, what);
    if (!list) return -1;
    int ok = PySequence_Fast_GET_SIZE(list) == count;
    if (!ok)
        PyErr_Format(PyExc_ValueError, "%s has %zd buffers, not %d", what,
                     PySequence_Fast_GET_SIZE(list), count);
    for (int i = 0; ok && i < count; i++) {
        Py_ssize_t shape[1];
        ok = binding_floats(PySequence_Fast_GET_ITEM(list, i), &views[i], 1, shape, 1, what) == 0;
        if (ok && shape[0] < frames) {
            PyErr_Format(PyExc_ValueError, "%s has a buffer of %zd frames; the block has %d", what,
                         shape[0], frames);
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
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!OOOOO", names, &binding_port_type, &port,
                                     &inputs, &wet, &dry, &mixed, &out))
        return NULL;
    EngineObject *self = (EngineObject *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    Py_INCREF(port);
    self->port = port;
    int frames = (int)port->port->host_frames, error;
    if (view(inputs, self->in, (int)port->port->layout.inputs, frames, "inputs") < 0 ||
        view(wet, self->wet, 2, frames, "wet") < 0 || view(dry, self->dry, 2, frames, "dry") < 0 ||
        view(mixed, self->mixed, 2, frames, "mixed") < 0 ||
        view(out, self->out, 2, frames, "out") < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->engine = nv_engine_new(port->port, &error);
    if (!self->engine) {
        Py_DECREF(self);
        return binding_raise(error);
    }
    return (PyObject *)self;
}

static PyObject *engine_route(EngineObject *self, PyObject *args) {
    int automatic_inputs, mono_output;
    if (!PyArg_ParseTuple(args, "pp", &automatic_inputs, &mono_output)) return NULL;
    nv_engine_route(self->engine, automatic_inputs, mono_output);
    Py_RETURN_NONE;
}

static PyObject *engine_callback(EngineObject *self, void *which) {
    CallbackObject *callback =
        (CallbackObject *)binding_callback_type.tp_alloc(&binding_callback_type, 0);
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
static PyMethodDef engine_methods[] = {
    {"route", (PyCFunction)engine_route, METH_VARARGS,
     "route(automatic_inputs, mono_output): see dsp/sides.h. Any thread, at any time."},
    {0},
};
PyTypeObject binding_engine_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "dsp._engine.Engine",
    .tp_doc = "Engine(port, inputs, wet, dry, mixed, out): the engine on these lists of float32 "
              "buffers, acquired for its lifetime.",
    .tp_basicsize = sizeof(EngineObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = engine_new,
    .tp_dealloc = (destructor)engine_dealloc,
    .tp_methods = engine_methods,
    .tp_getset = engine_getset,
};
