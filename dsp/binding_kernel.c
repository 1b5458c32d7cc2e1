/* dsp._engine.Kernel: the convolution kernel alone, for tests, benches and other Python hosts. */
#include <stdlib.h>
#include <string.h>

#include "binding.h"
#include "kernel.h"

typedef struct {
    PyObject_HEAD nv_kernel *kernel;
    nv_layout layout;
    void *spectra[NV_MAX_ROOMS + 1]; /* owned */
} KernelObject;

static void kernel_dealloc(KernelObject *self) {
    if (self->kernel) nv_kernel_free(self->kernel);
    for (int i = 0; i <= NV_MAX_ROOMS; i++) free(self->spectra[i]);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *kernel_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"layout", "fade_frames", NULL};
    const char *bytes;
    Py_ssize_t size;
    int fade_frames = 1024, error;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y#|i", names, &bytes, &size, &fade_frames))
        return NULL;
    KernelObject *self = (KernelObject *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    if (binding_layout(bytes, size, &self->layout) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->kernel = nv_kernel_new(&self->layout, fade_frames, &error);
    if (!self->kernel) {
        Py_DECREF(self);
        return binding_raise(error);
    }
    return (PyObject *)self;
}

static int tails_of(const char *name, nv_tails *tails) {
    static const char *const names[] = {"keep", "follow", "cut"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(name, names[i])) return *tails = (nv_tails)i, 0;
    PyErr_Format(PyExc_ValueError, "tails %s: must be keep, follow or cut", name);
    return -1;
}

static PyObject *kernel_load(KernelObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"ir", "tails", NULL};
    PyObject *object;
    const char *name = "keep";
    nv_tails tails;
    Py_buffer view;
    const float *ir[NV_MAX_IR_CHANNELS];
    int channels, taps;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|s", names, &object, &name) ||
        tails_of(name, &tails) < 0)
        return NULL;
    int error = nv_kernel_ready(self->kernel, tails);
    if (error) return binding_raise(error);
    if (binding_ir(object, &view, ir, &channels, &taps) < 0) return NULL;
    error = taps < 1 || taps > (int)self->layout.max_taps ? NV_E_TAPS : NV_OK;
    void *spectra = NULL;
    if (!error) {
        size_t bytes = (nv_spectra_bytes(&self->layout, channels, taps) + 63) / 64 * 64;
        spectra = aligned_alloc(64, bytes);
        error =
            spectra ? nv_prepare(&self->layout, ir, channels, taps, spectra, bytes) : NV_E_MEMORY;
    }
    PyBuffer_Release(&view);
    if (!error) error = nv_kernel_load(self->kernel, spectra, tails);
    if (error) {
        free(spectra);
        return binding_raise(error);
    }
    void **place = NULL;
    for (int i = 0; i <= NV_MAX_ROOMS; i++) {
        if (!nv_kernel_reads(self->kernel, self->spectra[i]))
            free(self->spectra[i]), self->spectra[i] = NULL;
        if (!self->spectra[i]) place = &self->spectra[i];
    }
    *place = spectra; /* the kernel reads at most NV_MAX_ROOMS */
    Py_RETURN_NONE;
}

static PyObject *kernel_process(KernelObject *self, PyObject *args) {
    PyObject *in_object, *out_object;
    if (!PyArg_ParseTuple(args, "OO", &in_object, &out_object)) return NULL;
    Py_buffer in, out;
    Py_ssize_t in_shape[2], out_shape[2], frames = self->layout.block_frames;
    if (binding_floats(in_object, &in, 2, in_shape, 0, "in") < 0) return NULL;
    if (binding_floats(out_object, &out, 2, out_shape, 1, "out") < 0) {
        PyBuffer_Release(&in);
        return NULL;
    }
    int ok = in_shape[0] == (Py_ssize_t)self->layout.inputs && out_shape[0] == NV_OUTPUTS &&
             in_shape[1] == out_shape[1] && in_shape[1] % frames == 0;
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
        PyErr_SetString(PyExc_ValueError,
                        "in must be (inputs, n) and out (2, n), n a multiple of the block");
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
static PyObject *kernel_rooms(KernelObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromLong(nv_kernel_rooms(self->kernel));
}
static PyObject *kernel_bytes(KernelObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromSize_t(nv_kernel_bytes(self->kernel));
}
static PyMethodDef kernel_methods[] = {
    {"load", (PyCFunction)(void (*)(void))kernel_load, METH_VARARGS | METH_KEYWORDS,
     "load(ir, tails='keep'): begins the change to a float32 IR (1, 2 or 4 channels, taps).\n"
     "tails: keep, follow or cut, see kernel.h. Raises ValueError while it cannot take it."},
    {"process", (PyCFunction)kernel_process, METH_VARARGS,
     "process(in, out): float32 (inputs, n) -> (2, n), block by block."},
    {"reset", (PyCFunction)kernel_reset, METH_NOARGS, "Clears all input; the IR stays."},
    {0},
};
static PyGetSetDef kernel_getset[] = {
    {"fading", (getter)kernel_fading, NULL, "True during a fade or a crossfade", NULL},
    {"rooms", (getter)kernel_rooms, NULL, "number of rooms that sound", NULL},
    {"bytes", (getter)kernel_bytes, NULL, "memory of the kernel, without spectra", NULL},
    {0},
};
PyTypeObject binding_kernel_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "dsp._engine.Kernel",
    .tp_doc = "Kernel(layout, fade_frames=1024): the convolution kernel alone.",
    .tp_basicsize = sizeof(KernelObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = kernel_new,
    .tp_dealloc = (destructor)kernel_dealloc,
    .tp_methods = kernel_methods,
    .tp_getset = kernel_getset,
};
