/* The Python module firmware_py.control.jack_midi: a JACK client with MIDI ports, for the MIDI
 * process. One client in a process.
 *
 * JACK waits for the callback, so no Python code runs in it: it parses the bytes of each port and
 * puts complete channel messages into a ring, and an eventfd wakes the Python thread. libjack is
 * loaded when the client opens, so that neither the build nor a pedal without JACK MIDI needs it.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { MAX_INPUTS = 64, RECORD = 4, RING = 1 << 14, OUT_RING = 1 << 10, OUT_PER_BLOCK = 64 };
enum { CLOCK = 0xF8 };

/* ---- the parser: a stream of MIDI bytes becomes channel messages ---- */

typedef struct {
    uint8_t status; /* running status; 0: data bytes belong to nothing, or to a system message */
    uint8_t first, have;
} parser;

/* Takes one byte. Returns whether it completes a message, then in message[3]. Any status byte ends
 * what came before it, so that a truncated message or a system exclusive message without its end
 * costs nothing but itself. Real-time bytes may be anywhere and change nothing. */
static int parse_byte(parser *p, uint8_t byte, uint8_t message[3]) {
    if (byte >= 0xF8) return 0;
    if (byte >= 0x80) {
        p->status = byte < 0xF0 ? byte : 0;
        p->have = 0;
        return 0;
    }
    if (!p->status) return 0;
    int single = (p->status & 0xE0) == 0xC0; /* program change, channel pressure */
    if (!single && !p->have) {
        p->first = byte;
        p->have = 1;
        return 0;
    }
    message[0] = p->status;
    message[1] = single ? byte : p->first;
    message[2] = single ? 0 : byte;
    p->have = 0;
    return 1;
}

/* ---- rings: one thread writes, another reads ---- */

typedef struct {
    uint32_t *records;
    unsigned size;
    _Atomic unsigned head, tail; /* of the writer, of the reader */
} ring;

static uint32_t in_records[RING], out_records[OUT_RING];
static ring in_ring = {in_records, RING, 0, 0}, out_ring = {out_records, OUT_RING, 0, 0};

static int ring_push(ring *r, uint32_t record) {
    unsigned head = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (head - atomic_load_explicit(&r->tail, memory_order_acquire) == r->size) return 0;
    r->records[head % r->size] = record;
    atomic_store_explicit(&r->head, head + 1, memory_order_release);
    return 1;
}

static int ring_pop(ring *r, uint32_t *record) {
    unsigned tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    if (tail == atomic_load_explicit(&r->head, memory_order_acquire)) return 0;
    *record = r->records[tail % r->size];
    atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
    return 1;
}

/* ---- JACK ---- */

typedef struct {
    uint32_t time;
    size_t size;
    uint8_t *buffer;
} jack_event; /* jack_midi_event_t */

typedef struct jack_client jack_client;
typedef struct jack_port jack_port;

enum { NO_START_SERVER = 1, IS_INPUT = 1, IS_OUTPUT = 2 };
static const char MIDI_TYPE[] = "8 bit raw midi";

static struct {
    jack_client *(*client_open)(const char *, int, int *, ...);
    int (*client_close)(jack_client *);
    char *(*get_client_name)(jack_client *);
    int (*set_process_callback)(jack_client *, int (*)(uint32_t, void *), void *);
    int (*set_port_registration_callback)(jack_client *, void (*)(uint32_t, int, void *), void *);
    int (*set_port_connect_callback)(jack_client *, void (*)(uint32_t, uint32_t, int, void *),
                                     void *);
    void (*on_shutdown)(jack_client *, void (*)(void *), void *);
    int (*activate)(jack_client *);
    jack_port *(*port_register)(jack_client *, const char *, const char *, unsigned long,
                                unsigned long);
    void *(*port_get_buffer)(jack_port *, uint32_t);
    const char *(*port_name)(const jack_port *);
    jack_port *(*port_by_name)(jack_client *, const char *);
    int (*port_connected_to)(const jack_port *, const char *);
    int (*port_get_aliases)(const jack_port *, char *const[]);
    int (*port_name_size)(void);
    const char **(*get_ports)(jack_client *, const char *, const char *, unsigned long);
    void (*free)(void *);
    int (*connect)(jack_client *, const char *, const char *);
    int (*disconnect)(jack_client *, const char *, const char *);
    uint32_t (*midi_get_event_count)(void *);
    uint32_t (*last_frame_time)(const jack_client *);
    uint32_t (*get_sample_rate)(jack_client *);
    int (*midi_event_get)(jack_event *, void *, uint32_t);
    void (*midi_clear_buffer)(void *);
    int (*midi_event_write)(void *, uint32_t, const uint8_t *, size_t);
} jack;

static jack_client *client;
static jack_port *inputs[MAX_INPUTS], *output;
static parser parsers[MAX_INPUTS];
static atomic_int input_count, lost, changed;
static atomic_uint dropped;
static uint32_t clock_rate_hz = 1;
static int wake_fd = -1;

static void wake(void) {
    uint64_t one = 1;
    if (write(wake_fd, &one, sizeof one) < 0) return; /* full: it is awake already */
}

static void push_input(int place, uint8_t status, uint8_t first, uint8_t second) {
    uint8_t bytes[RECORD] = {(uint8_t)place, status, first, second};
    uint32_t record;
    memcpy(&record, bytes, RECORD);
    if (!ring_push(&in_ring, record)) atomic_fetch_add(&dropped, 1);
}

/* A tick of MIDI clock: midi_backend.clock_record. By frames, so that the block adds no jitter. */
static void push_clock(int place, uint32_t frame) {
    uint64_t units = (uint64_t)(jack.last_frame_time(client) + frame) * 10000u / clock_rate_hz;
    push_input(place, CLOCK, (uint8_t)(units >> 8), (uint8_t)units);
}

static int take_events(int place, uint32_t frames) {
    void *buffer = jack.port_get_buffer(inputs[place], frames);
    uint32_t count = buffer ? jack.midi_get_event_count(buffer) : 0;
    int taken = 0;
    for (uint32_t i = 0; i < count; i++) {
        jack_event event;
        uint8_t message[3];
        if (jack.midi_event_get(&event, buffer, i)) continue;
        for (size_t n = 0; n < event.size; n++) {
            if (event.buffer[n] == CLOCK)
                push_clock(place, event.time);
            else if (parse_byte(&parsers[place], event.buffer[n], message))
                push_input(place, message[0], message[1], message[2]);
            else
                continue;
            taken = 1;
        }
    }
    return taken;
}

static void give_events(uint32_t frames) {
    void *buffer = jack.port_get_buffer(output, frames);
    uint32_t record;
    if (!buffer) return;
    jack.midi_clear_buffer(buffer);
    for (int i = 0; i < OUT_PER_BLOCK && ring_pop(&out_ring, &record); i++) {
        uint8_t bytes[RECORD];
        memcpy(bytes, &record, RECORD);
        jack.midi_event_write(buffer, 0, bytes + 1, bytes[0]);
    }
}

static int process(uint32_t frames, void *unused) {
    (void)unused;
    int count = atomic_load_explicit(&input_count, memory_order_acquire), taken = 0;
    for (int place = 0; place < count; place++) taken |= take_events(place, frames);
    give_events(frames);
    if (taken) wake();
    return 0;
}

static void port_registered(uint32_t id, int registered, void *unused) {
    (void)id, (void)registered, (void)unused;
    atomic_store(&changed, 1);
    wake();
}

static void ports_connected(uint32_t a, uint32_t b, int connected, void *unused) {
    (void)a, (void)b;
    port_registered(0, connected, unused);
}

static void shut_down(void *unused) {
    (void)unused;
    atomic_store(&lost, 1);
    wake();
}

static int load_jack(void) {
    static const struct {
        const char *name;
        void *place;
    } wanted[] = {
        {"jack_client_open", &jack.client_open},
        {"jack_client_close", &jack.client_close},
        {"jack_get_client_name", &jack.get_client_name},
        {"jack_set_process_callback", &jack.set_process_callback},
        {"jack_set_port_registration_callback", &jack.set_port_registration_callback},
        {"jack_set_port_connect_callback", &jack.set_port_connect_callback},
        {"jack_on_shutdown", &jack.on_shutdown},
        {"jack_activate", &jack.activate},
        {"jack_port_register", &jack.port_register},
        {"jack_port_get_buffer", &jack.port_get_buffer},
        {"jack_port_name", &jack.port_name},
        {"jack_port_by_name", &jack.port_by_name},
        {"jack_port_connected_to", &jack.port_connected_to},
        {"jack_port_get_aliases", &jack.port_get_aliases},
        {"jack_port_name_size", &jack.port_name_size},
        {"jack_get_ports", &jack.get_ports},
        {"jack_free", &jack.free},
        {"jack_connect", &jack.connect},
        {"jack_disconnect", &jack.disconnect},
        {"jack_last_frame_time", &jack.last_frame_time},
        {"jack_get_sample_rate", &jack.get_sample_rate},
        {"jack_midi_get_event_count", &jack.midi_get_event_count},
        {"jack_midi_event_get", &jack.midi_event_get},
        {"jack_midi_clear_buffer", &jack.midi_clear_buffer},
        {"jack_midi_event_write", &jack.midi_event_write},
    };
    void *library = dlopen("libjack.so.0", RTLD_NOW | RTLD_GLOBAL);
    if (!library) {
        PyErr_Format(PyExc_OSError, "%s", dlerror());
        return -1;
    }
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void *found = dlsym(library, wanted[i].name);
        if (!found) {
            PyErr_Format(PyExc_OSError, "libjack.so.0 has no %s", wanted[i].name);
            return -1;
        }
        memcpy(wanted[i].place, &found, sizeof found);
    }
    return 0;
}

static jack_port *register_port(const char *name, unsigned long flags) {
    return jack.port_register(client, name, MIDI_TYPE, flags, 0);
}

/* ---- the module ---- */

#define REQUIRE_CLIENT()                                                                           \
    if (!client) {                                                                                 \
        PyErr_SetString(PyExc_RuntimeError, "the client is not open");                             \
        return NULL;                                                                               \
    }

static PyObject *jm_open(PyObject *self, PyObject *args) {
    (void)self;
    const char *name;
    int status = 0;
    if (!PyArg_ParseTuple(args, "s:open", &name)) return NULL;
    if (client) {
        PyErr_SetString(PyExc_RuntimeError, "the client is open already");
        return NULL;
    }
    if (!jack.client_open && load_jack() < 0) return NULL;
    if (wake_fd < 0) wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (wake_fd < 0) return PyErr_SetFromErrno(PyExc_OSError);
    client = jack.client_open(name, NO_START_SERVER, &status);
    if (!client) Py_RETURN_FALSE;
    clock_rate_hz = jack.get_sample_rate(client);
    jack.set_process_callback(client, process, NULL);
    jack.set_port_registration_callback(client, port_registered, NULL);
    jack.set_port_connect_callback(client, ports_connected, NULL);
    jack.on_shutdown(client, shut_down, NULL);
    inputs[0] = register_port("in", IS_INPUT);
    output = register_port("out", IS_OUTPUT);
    if (inputs[0] && output) {
        atomic_store(&input_count, 1);
        if (!jack.activate(client)) Py_RETURN_TRUE;
    }
    atomic_store(&input_count, 0);
    jack.client_close(client);
    client = NULL;
    Py_RETURN_FALSE;
}

static PyObject *jm_add_input(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    char name[16];
    REQUIRE_CLIENT()
    int place = atomic_load(&input_count);
    if (place == MAX_INPUTS) Py_RETURN_FALSE;
    snprintf(name, sizeof name, "in-%d", place);
    inputs[place] = register_port(name, IS_INPUT);
    if (!inputs[place]) Py_RETURN_FALSE;
    atomic_store_explicit(&input_count, place + 1, memory_order_release);
    Py_RETURN_TRUE;
}

static PyObject *jm_read(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    uint64_t count;
    REQUIRE_CLIENT()
    if (read(wake_fd, &count, sizeof count) < 0 && errno != EAGAIN)
        return PyErr_SetFromErrno(PyExc_OSError);
    unsigned waiting = atomic_load(&in_ring.head) - atomic_load(&in_ring.tail);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)waiting * RECORD);
    if (!bytes) return NULL;
    char *to = PyBytes_AS_STRING(bytes);
    uint32_t record;
    for (unsigned i = 0; i < waiting && ring_pop(&in_ring, &record); i++)
        memcpy(to + (size_t)i * RECORD, &record, RECORD);
    return bytes;
}

static PyObject *jm_send(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer message;
    uint8_t bytes[RECORD] = {0};
    uint32_t record;
    REQUIRE_CLIENT()
    if (!PyArg_ParseTuple(args, "y*:send", &message)) return NULL;
    int valid = message.len >= 1 && message.len < RECORD;
    if (valid) {
        bytes[0] = (uint8_t)message.len;
        memcpy(bytes + 1, message.buf, (size_t)message.len);
    }
    PyBuffer_Release(&message);
    if (!valid) {
        PyErr_SetString(PyExc_ValueError, "a message has 1 to 3 bytes");
        return NULL;
    }
    memcpy(&record, bytes, RECORD);
    return PyBool_FromLong(ring_push(&out_ring, record));
}

/* The name of a port and its aliases: a hardware port of JACK's ALSA driver is called
 * system:midi_capture_1, and only its alias says which device it is. */
static PyObject *names_of(const char *name) {
    size_t size = (size_t)jack.port_name_size();
    char *first = PyMem_Malloc(size), *second = PyMem_Malloc(size);
    PyObject *names = NULL;
    if (!first || !second) {
        PyErr_NoMemory();
    } else {
        char *aliases[2] = {first, second};
        jack_port *port = jack.port_by_name(client, name);
        int count = port ? jack.port_get_aliases(port, aliases) : 0;
        names = count >= 2   ? Py_BuildValue("(sss)", name, first, second)
                : count == 1 ? Py_BuildValue("(ss)", name, first)
                             : Py_BuildValue("(s)", name);
    }
    PyMem_Free(first), PyMem_Free(second);
    return names;
}

static PyObject *jm_ports(PyObject *self, PyObject *args) {
    (void)self;
    int readable;
    REQUIRE_CLIENT()
    if (!PyArg_ParseTuple(args, "p:ports", &readable)) return NULL;
    atomic_store(&changed, 0);
    const char **ports =
        jack.get_ports(client, NULL, MIDI_TYPE, (unsigned long)(readable ? IS_OUTPUT : IS_INPUT));
    PyObject *list = PyList_New(0);
    for (const char **port = ports; list && port && *port; port++) {
        PyObject *names = names_of(*port);
        if (!names || PyList_Append(list, names) < 0) Py_CLEAR(list);
        Py_XDECREF(names);
    }
    if (ports) jack.free(ports);
    return list;
}

/* Input number `place`, or (-1) the output; NULL with an exception if there is none. */
static jack_port *own_port(int place) {
    if (place == -1) return output;
    if (place >= 0 && place < atomic_load(&input_count)) return inputs[place];
    PyErr_Format(PyExc_ValueError, "no input %d", place);
    return NULL;
}

static PyObject *jm_connect(PyObject *self, PyObject *args) {
    (void)self;
    int place;
    const char *name;
    REQUIRE_CLIENT()
    if (!PyArg_ParseTuple(args, "is:connect", &place, &name)) return NULL;
    jack_port *own = own_port(place);
    if (!own) return NULL;
    if (jack.port_connected_to(own, name)) Py_RETURN_TRUE;
    const char *ours = jack.port_name(own);
    int error = place == -1 ? jack.connect(client, ours, name) : jack.connect(client, name, ours);
    return PyBool_FromLong(error == 0 || error == EEXIST);
}

static PyObject *jm_connected(PyObject *self, PyObject *args) {
    (void)self;
    int place;
    const char *name;
    REQUIRE_CLIENT()
    if (!PyArg_ParseTuple(args, "is:connected", &place, &name)) return NULL;
    jack_port *own = own_port(place);
    return own ? PyBool_FromLong(jack.port_connected_to(own, name)) : NULL;
}

static PyObject *jm_disconnect(PyObject *self, PyObject *args) {
    (void)self;
    int place;
    const char *name;
    REQUIRE_CLIENT()
    if (!PyArg_ParseTuple(args, "is:disconnect", &place, &name)) return NULL;
    jack_port *own = own_port(place);
    if (!own) return NULL;
    if (!jack.port_connected_to(own, name)) Py_RETURN_NONE;
    const char *ours = jack.port_name(own);
    if (place == -1) jack.disconnect(client, ours, name);
    else jack.disconnect(client, name, ours);
    Py_RETURN_NONE;
}

static PyObject *jm_state(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    REQUIRE_CLIENT()
    PyObject *has_changed = PyBool_FromLong(atomic_load(&changed));
    PyObject *is_lost = PyBool_FromLong(atomic_load(&lost));
    return Py_BuildValue("(sNNI)", jack.get_client_name(client), has_changed, is_lost,
                         atomic_load(&dropped));
}

static PyObject *jm_wake_fd(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    return PyLong_FromLong(wake_fd);
}

static PyObject *jm_parse(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer stream;
    if (!PyArg_ParseTuple(args, "y*:parse", &stream)) return NULL;
    PyObject *list = PyList_New(0);
    parser p = {0};
    for (Py_ssize_t i = 0; list && i < stream.len; i++) {
        uint8_t message[3];
        if (!parse_byte(&p, ((const uint8_t *)stream.buf)[i], message)) continue;
        PyObject *bytes = PyBytes_FromStringAndSize((const char *)message, 3);
        if (!bytes || PyList_Append(list, bytes) < 0) Py_CLEAR(list);
        Py_XDECREF(bytes);
    }
    PyBuffer_Release(&stream);
    return list;
}

static PyMethodDef methods[] = {
    {"open", jm_open, METH_VARARGS, "Open and start the client. False if no server answers."},
    {"wake_fd", jm_wake_fd, METH_NOARGS, "A descriptor that is readable when there is news."},
    {"read", jm_read, METH_NOARGS, "The messages since the last call: 4 bytes each."},
    {"send", jm_send, METH_VARARGS, "Send one message. False if too many wait."},
    {"add_input", jm_add_input, METH_NOARGS, "Add an input port. False if there are too many."},
    {"ports", jm_ports, METH_VARARGS, "Names and aliases of all readable or writable MIDI ports."},
    {"connect", jm_connect, METH_VARARGS, "Connect an input, or (-1) the output."},
    {"connected", jm_connected, METH_VARARGS, "Whether these are connected."},
    {"disconnect", jm_disconnect, METH_VARARGS, "Disconnect an input, or (-1) the output."},
    {"state", jm_state, METH_NOARGS, "Client name, whether ports changed, server lost, dropped."},
    {"parse", jm_parse, METH_VARARGS, "The channel messages in a stream of bytes."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "jack_midi", "A JACK client with MIDI ports.", -1, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_jack_midi(void) { return PyModule_Create(&definition); }
