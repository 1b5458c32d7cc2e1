/* dsp._engine.Dense: dense layers in integers, for models/integers.py. */
#include "binding.h"
#include "dense.h"

enum { WEIGHTS, BIAS, FACTOR, SHIFT, LESS, VIEWS };

typedef struct {
    PyObject_HEAD nv_dense *layer; /* owned */
    Py_buffer *view;               /* owned: hold the arrays of the layers */
    int count, views;
    float in_scale, out_scale;
} DenseObject;

static void dense_dealloc(DenseObject *self) {
    for (int i = 0; i < self->views; i++) PyBuffer_Release(&self->view[i]);
    PyMem_Free(self->view), PyMem_Free(self->layer);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* Gets an array of signed integers of `bytes` each. NULL with an exception. */
static const Py_buffer *take_integers(DenseObject *self, PyObject *object, int bytes,
                                      int dimensions) {
    Py_buffer *view = &self->view[self->views];
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0) return NULL;
    self->views++;
    const char *format = view->format ? view->format : "B";
    if (view->itemsize == bytes && view->ndim == dimensions && *format &&
        strchr("bilq", *format) && !format[1])
        return view;
    PyErr_Format(PyExc_TypeError, "an array must be int%d of %d dimensions", 8 * bytes, dimensions);
    return NULL;
}

static int arrays_fit(const nv_dense *layer) {
    for (int i = 0; i < layer->outputs; i++)
        if (!nv_scale_fits((nv_scale){layer->factor[i], layer->shift[i]}, 0)) return 0;
    const nv_scale *s = &layer->sigmoid;
    return nv_scale_fits(layer->before, 1) && nv_scale_fits(layer->after, 1) &&
           nv_scale_fits(layer->product, 0) && s->factor >= 0 && s->factor <= INT16_MAX &&
           s->shift >= 0 && s->shift <= 31;
}

/* A layer from its tuple; `inputs`: of the layer before, 0 for the first. 0, or -1 with an
 * exception. */
static int take_layer(DenseObject *self, nv_dense *layer, PyObject *row, int inputs) {
    static const int bytes[VIEWS] = {1, 8, 4, 4, 4};
    PyObject *array[VIEWS], *swish;
    const Py_buffer *view[VIEWS] = {NULL};
    nv_scale *before = &layer->before, *after = &layer->after;
    if (!PyTuple_Check(row)) {
        PyErr_SetString(PyExc_TypeError, "a layer must be a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(row, "OOOOO(iiii)O", &array[0], &array[1], &array[2], &array[3],
                          &array[4], &before->factor, &before->shift, &after->factor,
                          &after->shift, &swish))
        return -1;
    nv_scale *s = &layer->sigmoid, *p = &layer->product;
    layer->is_swish = swish != Py_None;
    if (layer->is_swish &&
        (!PyTuple_Check(swish) ||
         !PyArg_ParseTuple(swish, "iiii", &s->factor, &s->shift, &p->factor, &p->shift))) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "swish must be a tuple or None");
        return -1;
    }
    for (int i = 0; i < VIEWS; i++) {
        if (i == BIAS && array[i] == Py_None) continue;
        view[i] = take_integers(self, array[i], bytes[i], i == WEIGHTS ? 2 : 1);
        if (!view[i]) return -1;
    }
    Py_ssize_t rows = view[WEIGHTS]->shape[0], columns = view[WEIGHTS]->shape[1];
    int fits = rows > 0 && columns > 0 && rows <= NV_DENSE_MOST && columns <= NV_DENSE_MOST &&
               (!inputs || columns == inputs);
    for (int i = BIAS; i < VIEWS; i++) fits &= !view[i] || view[i]->shape[0] == rows;
    if (fits) {
        layer->inputs = (int)columns, layer->outputs = (int)rows;
        layer->weights = view[WEIGHTS]->buf, layer->bias = view[BIAS] ? view[BIAS]->buf : NULL;
        layer->factor = view[FACTOR]->buf, layer->shift = view[SHIFT]->buf;
        layer->less = view[LESS]->buf;
        fits = arrays_fit(layer);
    }
    if (!fits) PyErr_SetString(PyExc_ValueError, "the arrays of a layer do not fit");
    return fits ? 0 : -1;
}

static PyObject *dense_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"in_scale", "out_scale", "layers", NULL};
    float in_scale, out_scale;
    PyObject *layers;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "ffO!", names, &in_scale, &out_scale,
                                     &PyTuple_Type, &layers))
        return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(layers);
    if (count < 1 || count > NV_DENSE_MOST || !(in_scale > 0)) {
        PyErr_SetString(PyExc_ValueError, "there must be layers, and in_scale must be above 0");
        return NULL;
    }
    DenseObject *self = (DenseObject *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->in_scale = in_scale, self->out_scale = out_scale;
    self->layer = PyMem_Calloc((size_t)count, sizeof *self->layer);
    self->view = PyMem_Calloc(VIEWS * (size_t)count, sizeof *self->view);
    int ok = self->layer && self->view;
    if (!ok) PyErr_NoMemory();
    for (; ok && self->count < count; self->count++)
        ok = take_layer(self, &self->layer[self->count], PyTuple_GET_ITEM(layers, self->count),
                        self->count ? self->layer[self->count - 1].outputs : 0) == 0;
    if (ok) return (PyObject *)self;
    Py_DECREF(self);
    return NULL;
}

static PyObject *dense_call(DenseObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"values", "out", NULL};
    PyObject *object[2];
    Py_buffer view[2];
    Py_ssize_t size[2];
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO", names, &object[0], &object[1]))
        return NULL;
    int held = 0, error = 0;
    for (; held < 2; held++)
        if (binding_floats(object[held], &view[held], 1, &size[held], held, names[held]) < 0) break;
    if (held == 2) {
        const nv_dense *last = &self->layer[self->count - 1];
        if (size[0] != self->layer->inputs || size[1] != last->outputs)
            PyErr_SetString(PyExc_ValueError, "values or out do not fit the layers");
        else
            error = nv_dense_run(self->layer, self->count, self->in_scale, self->out_scale,
                                 view[0].buf, view[1].buf);
    }
    while (held > 0) PyBuffer_Release(&view[--held]);
    if (error) return PyErr_NoMemory();
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

static PyObject *dense_inputs(DenseObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromLong(self->layer->inputs);
}

static PyObject *dense_outputs(DenseObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromLong(self->layer[self->count - 1].outputs);
}

static PyGetSetDef dense_properties[] = {
    {"inputs", (getter)dense_inputs, NULL, "Values of the first layer's input.", NULL},
    {"outputs", (getter)dense_outputs, NULL, "Values of the last layer.", NULL},
    {0},
};

PyTypeObject binding_dense_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "dsp._engine.Dense",
    .tp_basicsize = sizeof(DenseObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Dense(in_scale, out_scale, layers): see dsp/dense.h. layers: tuples (weights, bias, "
              "factor, shift, less, (before, after), (sigmoid, product) or None), the scales as "
              "two integers each. Call it with (values, out).",
    .tp_new = dense_new,
    .tp_dealloc = (destructor)dense_dealloc,
    .tp_call = (ternaryfunc)dense_call,
    .tp_getset = dense_properties,
};
