#include "port.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ /* Linux 5.14; older headers */
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

static const char MAGIC[8] = "nverbprt";

const nv_param_row nv_param_table[NV_PARAMS_USED] = {
#define ROW(constant, name, initial, lowest, highest)                                              \
    [constant] = {#name, initial, lowest, highest},
    NV_ENGINE_PARAMS(ROW)
#undef ROW
};

/* The order of parameters and meters as text, so that a change of a list changes the version. */
static const char LISTS[] =
#define PARAM(constant, name, initial, lowest, highest) "p " #name
    NV_ENGINE_PARAMS(PARAM)
#undef PARAM
#define WIDE(name) "w " #name
#define PAIR(name) "2 " #name
#define WORD(name) "n " #name
        NV_METERS(WIDE, WIDE, PAIR, WORD, WORD)
#undef WIDE
#undef PAIR
#undef WORD
    ;

/* FNV-1a of NV_PORT_VERSION and LISTS. */
static uint32_t version(void) {
    uint32_t hash = (2166136261u ^ NV_PORT_VERSION) * 16777619u;
    for (const char *c = LISTS; *c; c++) hash = (hash ^ (unsigned char)*c) * 16777619u;
    return hash;
}

static uint64_t round_up(uint64_t n, uint64_t step) { return (n + step - 1) / step * step; }

size_t nv_port_bytes(const nv_layout *layout, int ir_channels) {
    size_t slot = nv_spectra_bytes(layout, ir_channels, (int)layout->max_taps);
    return NV_PORT_HEADER_BYTES + NV_SLOTS * (size_t)round_up(slot, 4096);
}

int nv_port_create(void *memory, size_t bytes, const nv_layout *layout, int ir_channels,
                   uint32_t rate_hz) {
    int error = nv_layout_check(layout);
    if (error) return error;
    if (bytes < nv_port_bytes(layout, ir_channels) || (uintptr_t)memory % 64) return NV_E_SIZE;
    nv_port *port = memory;
    memset(port, 0, NV_PORT_HEADER_BYTES);
    memcpy(port->magic, MAGIC, sizeof MAGIC);
    port->version = version();
    port->rate_hz = rate_hz;
    port->bytes = bytes;
    port->slot_bytes = (bytes - NV_PORT_HEADER_BYTES) / NV_SLOTS / 4096 * 4096;
    port->layout = *layout;
    port->host_frames = layout->block_frames;
    float params[NV_PARAMS] = {0};
    for (int i = 0; i < NV_PARAMS_USED; i++) params[i] = nv_param_table[i].initial;
    nv_port_set_params(port, params);
    for (int slot = 0; slot < NV_SLOTS; slot++)
        atomic_store_explicit(&port->slot[slot].locked_bytes, port->slot_bytes,
                              memory_order_relaxed);
    atomic_store_explicit(&port->ready, 1, memory_order_release);
    return NV_OK;
}

int nv_port_set_host(nv_port *port, int host_frames) {
    if (nv_reblock_frames(host_frames) != (int)port->layout.block_frames) return NV_E_BLOCK;
    port->host_frames = (uint32_t)host_frames;
    return NV_OK;
}

int nv_port_check(const void *memory, size_t bytes) {
    const nv_port *port = memory;
    if (bytes < NV_PORT_HEADER_BYTES || (uintptr_t)memory % 64) return NV_E_SIZE;
    if (memcmp(port->magic, MAGIC, sizeof MAGIC) || port->version != version()) return NV_E_LAYOUT;
    if (atomic_load_explicit(&port->ready, memory_order_acquire) != 1) return NV_E_LAYOUT;
    if (port->bytes > bytes || port->bytes < NV_PORT_HEADER_BYTES || port->slot_bytes % 4096)
        return NV_E_SIZE;
    if (port->slot_bytes > (port->bytes - NV_PORT_HEADER_BYTES) / NV_SLOTS) return NV_E_SIZE;
    if (port->host_frames > NV_MAX_HOST_FRAMES ||
        nv_reblock_frames((int)port->host_frames) != (int)port->layout.block_frames)
        return NV_E_LAYOUT;
    if (port->rate_hz < 1000 || port->rate_hz > 1000000) return NV_E_LAYOUT;
    return nv_layout_check(&port->layout);
}

/* A seqlock (Boehm, "Can seqlocks get along with programming language memory models?", MSPC 2012):
 * the data are relaxed atomics; the fences order them with the sequence number. */
void nv_port_set_params(nv_port *port, const float values[NV_PARAMS]) {
    uint32_t sequence = atomic_load_explicit(&port->params_sequence, memory_order_relaxed);
    atomic_store_explicit(&port->params_sequence, sequence | 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    for (int i = 0; i < NV_PARAMS; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        atomic_store_explicit(&port->params[i], bits, memory_order_relaxed);
    }
    atomic_store_explicit(&port->params_sequence, (sequence | 1) + 1, memory_order_release);
}

int nv_port_get_params(const nv_port *port, float values[NV_PARAMS]) {
    uint32_t before = atomic_load_explicit(&port->params_sequence, memory_order_acquire),
             bits[NV_PARAMS];
    if (before & 1) return 0;
    for (int i = 0; i < NV_PARAMS; i++)
        bits[i] = atomic_load_explicit(&port->params[i], memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&port->params_sequence, memory_order_relaxed) != before) return 0;
    memcpy(values, bits, sizeof bits);
    return 1;
}

static int change(nv_port *port, int slot, uint32_t from, uint32_t to) {
    return atomic_compare_exchange_strong_explicit(&port->slot[slot].state, &from, to,
                                                   memory_order_acq_rel, memory_order_relaxed);
}

/* The slot in `state` with the highest (or the lowest) serial above `after`, or -1. */
static int by_serial(const nv_port *port, uint32_t state, uint64_t after, int highest) {
    int best = -1;
    uint64_t best_serial = 0;
    for (int slot = 0; slot < NV_SLOTS; slot++) {
        if (atomic_load_explicit(&port->slot[slot].state, memory_order_acquire) != state) continue;
        uint64_t serial = atomic_load_explicit(&port->slot[slot].serial, memory_order_relaxed);
        if (serial <= after) continue;
        if (best < 0 || (highest ? serial > best_serial : serial < best_serial))
            best = slot, best_serial = serial;
    }
    return best;
}

int nv_port_begin_ir(nv_port *port) {
    /* Between two attempts the audio side can change READY to INCOMING, and INCOMING or PLAYING to
     * FREE. It reads at most all slots but one, so the second or third attempt finds one. */
    for (int look = 0; look < 8; look++) {
        for (int slot = 0; slot < NV_SLOTS; slot++)
            if (change(port, slot, NV_SLOT_FREE, NV_SLOT_WRITING)) return slot;
        int oldest = by_serial(port, NV_SLOT_READY, 0, 0);
        if (oldest >= 0 && change(port, oldest, NV_SLOT_READY, NV_SLOT_WRITING)) return oldest;
    }
    return -1;
}

/* 1 if these pages could be allocated. Touching them on a full file system would kill the process
 * (SIGBUS). */
static int populate(const void *begin, uint64_t bytes, int advice) {
    uintptr_t first = (uintptr_t)begin & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
    return !madvise((void *)first, (uintptr_t)begin + bytes - first, advice) ||
           errno == EINVAL; /* EINVAL: an older kernel */
}

int nv_port_reserve(nv_port *port, int slot, size_t bytes) {
    return populate(nv_port_spectra(port, slot), bytes, MADV_POPULATE_WRITE) ? NV_OK : NV_E_MEMORY;
}

uint64_t nv_port_publish_ir(nv_port *port, int slot, int channels, size_t bytes, uint64_t room) {
    uint64_t serial = 0;
    for (int i = 0; i < NV_SLOTS; i++) {
        uint64_t other = atomic_load_explicit(&port->slot[i].serial, memory_order_relaxed);
        if (other > serial) serial = other;
    }
    nv_port_slot *s = &port->slot[slot];
    s->channels = (uint32_t)channels;
    atomic_store_explicit(&s->bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&s->serial, ++serial, memory_order_relaxed);
    s->room = room;
    atomic_store_explicit(&s->state, NV_SLOT_READY, memory_order_release);
    return serial;
}

void nv_port_cancel_ir(nv_port *port, int slot) {
    change(port, slot, NV_SLOT_WRITING, NV_SLOT_FREE);
}

void nv_port_recover_control(nv_port *port) {
    for (int slot = 0; slot < NV_SLOTS; slot++) change(port, slot, NV_SLOT_WRITING, NV_SLOT_FREE);
    /* Half-written parameters stay unreadable (odd sequence) until the next complete set. */
}

/* Bytes of the IR in a slot; 0 if there is none or the size is damaged. */
static uint64_t filled(const nv_port *port, int slot) {
    uint32_t state = atomic_load_explicit(&port->slot[slot].state, memory_order_acquire);
    uint64_t bytes = atomic_load_explicit(&port->slot[slot].bytes, memory_order_relaxed);
    return state == NV_SLOT_FREE || state == NV_SLOT_WRITING || bytes > port->slot_bytes ? 0
                                                                                         : bytes;
}

static void lock_slot(nv_port *port, int slot, uint64_t bytes) {
    const volatile char *begin = nv_port_spectra(port, slot);
    if (mlock((const void *)begin,
              (size_t)bytes)) { /* no permission to lock: load the pages at least */
        if (!populate((const void *)begin, bytes, MADV_POPULATE_READ))
            return; /* no memory: an IR that needs these pages is not taken */
        for (uint64_t i = 0; i < bytes; i += 4096) (void)begin[i];
    }
    atomic_store_explicit(&port->slot[slot].locked_bytes, bytes, memory_order_release);
}

/* Bytes of the longest IR, rounded up to a step. The same for all slots: the next room will be of a
 * similar length. */
static uint64_t to_be_held(const nv_port *port) {
    uint64_t step = round_up(port->slot_bytes / NV_LOCK_STEPS, 4096), bytes = NV_LOCK_FIRST * step;
    for (int slot = 0; slot < NV_SLOTS; slot++)
        if (filled(port, slot) > bytes) bytes = filled(port, slot);
    bytes = round_up(bytes, step);
    return bytes < port->slot_bytes ? bytes : port->slot_bytes;
}

void nv_port_lock_memory(nv_port *port) {
    uint64_t bytes = to_be_held(port);
    for (int slot = 0; slot < NV_SLOTS; slot++) {
        atomic_store_explicit(&port->slot[slot].locked_bytes, 0, memory_order_relaxed);
        lock_slot(port, slot, bytes);
    }
}

void nv_port_lock_more_memory(nv_port *port) {
    uint64_t bytes = to_be_held(port);
    for (int slot = 0; slot < NV_SLOTS; slot++)
        if (bytes > atomic_load_explicit(&port->slot[slot].locked_bytes, memory_order_relaxed))
            lock_slot(port, slot, bytes);
}

int nv_port_take_ir(nv_port *port, uint64_t after_serial) {
    int slot = by_serial(port, NV_SLOT_READY, after_serial, 1);
    if (slot < 0 || !change(port, slot, NV_SLOT_READY, NV_SLOT_INCOMING)) return -1;
    uint64_t bytes = atomic_load_explicit(&port->slot[slot].bytes,
                                          memory_order_relaxed); /* no longer written by the
                                                                  * control side */
    if (bytes > atomic_load_explicit(&port->slot[slot].locked_bytes, memory_order_acquire) &&
        bytes <= port->slot_bytes) {
        nv_port_set_slot(port, slot, NV_SLOT_READY);
        return -1;
    }
    return slot;
}

void nv_port_set_slot(nv_port *port, int slot, uint32_t state) {
    atomic_store_explicit(&port->slot[slot].state, state, memory_order_release);
}

void nv_port_recover_audio(nv_port *port) {
    int keep = by_serial(port, NV_SLOT_INCOMING, 0, 1);
    if (keep < 0) keep = by_serial(port, NV_SLOT_PLAYING, 0, 1);
    for (int slot = 0; slot < NV_SLOTS; slot++) {
        uint32_t state = atomic_load_explicit(&port->slot[slot].state, memory_order_acquire);
        if (state == NV_SLOT_INCOMING || state == NV_SLOT_PLAYING)
            nv_port_set_slot(port, slot, slot == keep ? NV_SLOT_READY : NV_SLOT_FREE);
    }
    atomic_store_explicit(&port->meters.playing_serial, 0, memory_order_relaxed);
}
