/* Shared by the files of the Python binding. The caller has the GIL. */
#ifndef NV_BINDING_H
#define NV_BINDING_H
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "port.h"

typedef struct {
    PyObject_HEAD Py_buffer view;
    nv_port *port;
} PortObject;

extern PyTypeObject binding_port_type, binding_engine_type, binding_callback_type,
    binding_kernel_type, binding_synthesis_type, binding_dense_type, binding_falls_type,
    binding_pulses_type;
extern PyObject *binding_meters_type; /* the named tuple Meters */

/* curves(level_db, after, share, out): see nv_find_curves(). */
PyObject *binding_curves(PyObject *module, PyObject *args);
/* Raises MemoryError for NV_E_MEMORY, else ValueError; returns NULL. */
PyObject *binding_raise(int error);
/* Gets a C-contiguous float32 buffer of `dimensions` dimensions and their lengths. 0, or -1 with
 * TypeError or BufferError. */
int binding_floats(PyObject *object, Py_buffer *view, int dimensions, Py_ssize_t *shape,
                   int writable, const char *what);
/* Row pointers of a float32 IR (channels, taps) of up to NV_MAX_IR_CHANNELS channels. 0, or -1 with
 * an exception. */
int binding_ir(PyObject *object, Py_buffer *view, const float **rows, int *channels, int *taps);
/* A checked layout from bytes. 0, or -1 with ValueError. */
int binding_layout(const char *bytes, Py_ssize_t size, nv_layout *layout);
/* Creates a named tuple of `type`; steals the references to the values. NULL with an exception,
 * also if one is already set. */
PyObject *binding_record(PyObject *type, PyObject **values, size_t count);
#endif
