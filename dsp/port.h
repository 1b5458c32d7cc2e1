/* The port: the block of memory shared by the audio thread and the control side (the control
 * process, a test, a renderer).
 *
 * It has no pointers, so it can be private memory or a file in shared memory. There is one writer
 * on the control side and one audio thread. Neither waits for the other, and either may die at any
 * instruction and be restarted on the same port.
 *
 *   offset  bytes  field            written by   meaning
 *        0      8  magic            creator      "nverbprt"
 *        8      4  version          creator      a hash of NV_PORT_VERSION, which any change here
 *                                        raises, and of the lists of parameters and meters
 *       12      4  rate_hz          creator      sampling rate of the engine
 *       16      8  bytes            creator      size of the complete port
 *       24      8  slot_bytes       creator      size of each spectra slot, a multiple of 4096
 *       32      4  ready            creator      1 when all of the above and the layout are written
 *      36      4  host_frames      creator      frames that the host (JACK) hands over at a time
 *      64    120  layout           creator      nv_layout: how IRs for this engine are cut
 *      256      4  params_sequence  control      odd while the parameters are being written
 *      260    252  params[63]       control      float32 bits, in the order of engine_params.h
 *      512    8x64 slot[8]          both         see nv_port_slot
 *     1024     ..  meters           audio        see nv_meters
 *     1536     ..  late[8]          control      see nv_late_room: of each slot's room
 *    16384     ..  spectra          control      NV_SLOTS times slot_bytes
 *
 * A slot's life:  FREE -> WRITING -> READY        (control)
 *                 READY -> INCOMING -> PLAYING -> FREE   (audio: taken, read by the kernel, silent)
 *                 INCOMING -> READY               (audio: its memory is not locked yet)
 *                 READY -> WRITING                (control: the latest IR wins)
 * The kernel reads at most NV_MAX_ROOMS slots, so one more can always be written: no queue, no
 * wait, bounded memory.
 *
 * A slot has space for the longest IR with the most channels, which few pedals play. So the audio
 * process locks only as much of each slot as the rooms so far have needed, rounded up to a step:
 * `locked_bytes`. The audio thread does not take an IR beyond that until the main thread has locked
 * more, at its next check (watchdog.h): the callback never waits for a page. If the port is a file,
 * pages that were never locked or written use no memory.
 */
#ifndef NV_PORT_H
#define NV_PORT_H
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "engine_params.h"
#include "kernel.h"
#include "latefield.h"
#include "meters.h"
#include "reblock.h"

enum {
    NV_PORT_VERSION = 7,
    NV_SLOTS = NV_MAX_ROOMS + 1,
    NV_PARAMS = 63,
    NV_PORT_HEADER_BYTES = 16384,
    NV_LOCK_STEPS = 8,
    NV_LOCK_FIRST = 2
};

enum { NV_SLOT_FREE, NV_SLOT_WRITING, NV_SLOT_READY, NV_SLOT_INCOMING, NV_SLOT_PLAYING };

typedef struct nv_port_slot {
    _Atomic uint32_t state;
    uint32_t channels;       /* of the IR: 1, 2 or 4 */
    _Atomic uint64_t bytes;  /* of the spectra */
    _Atomic uint64_t serial; /* increases with each published IR */
    uint64_t room; /* hash of the IR, 0 if unknown; a restarted control process compares it */
    _Atomic uint64_t locked_bytes; /* bytes locked by the audio side; written by its main thread */
    uint8_t reserved[24];
} nv_port_slot;

typedef struct nv_port {
    char magic[8];
    uint32_t version, rate_hz;
    uint64_t bytes, slot_bytes;
    _Atomic uint32_t ready;
    uint32_t host_frames; /* see reblock.h */
    _Alignas(64) nv_layout layout;
    _Alignas(256) _Atomic uint32_t params_sequence;
    _Atomic uint32_t params[NV_PARAMS];
    _Alignas(128) nv_port_slot slot[NV_SLOTS];
    nv_meters meters;
    _Alignas(512) nv_late_room late[NV_SLOTS];
} nv_port;

_Static_assert(offsetof(nv_port, host_frames) == 36, "port layout");
_Static_assert(offsetof(nv_port, layout) == 64, "port layout");
_Static_assert(offsetof(nv_port, params_sequence) == 256, "port layout");
_Static_assert(offsetof(nv_port, slot) == 512, "port layout");
_Static_assert(offsetof(nv_port, meters) == 1024, "port layout");
_Static_assert(offsetof(nv_port, late) == 1536, "port layout");
_Static_assert((int)NV_PARAMS_USED <= (int)NV_PARAMS, "port layout");
_Static_assert(sizeof(nv_port) <= NV_PORT_HEADER_BYTES, "port layout");

/* Bytes of a port for this layout whose slots fit an IR of max_taps taps and `ir_channels`
 * channels. */
size_t nv_port_bytes(const nv_layout *layout, int ir_channels);
/* Makes a port with default parameters in memory aligned to 64 bytes. Called by the creator, before
 * another process opens it. The host's block is the layout's. NV_OK or an error. */
int nv_port_create(void *memory, size_t bytes, const nv_layout *layout, int ir_channels,
                   uint32_t rate_hz);
/* Sets another host block, before another process opens the port. NV_OK or NV_E_BLOCK if the
 * layout's block does not fit it. */
int nv_port_set_host(nv_port *port, int host_frames);
/* NV_OK if the memory has a complete, ready port of this version; checks every field that is used
 * later. */
int nv_port_check(const void *memory, size_t bytes);
static inline void *nv_port_spectra(nv_port *port, int slot) {
    return (char *)port + NV_PORT_HEADER_BYTES + (size_t)slot * port->slot_bytes;
}

/* Control side: one caller at a time (the control process has a file lock). */
void nv_port_set_params(nv_port *port, const float values[NV_PARAMS]);
/* 1 if a complete set was read, 0 while one is being written (values unchanged). Either side;
 * real-time safe. */
int nv_port_get_params(const nv_port *port, float values[NV_PARAMS]);
/* Claims a slot for the next IR and returns its index; never -1 on a valid port. */
int nv_port_begin_ir(nv_port *port);
/* Passes a written slot to the audio side. Returns its serial. */
uint64_t nv_port_publish_ir(nv_port *port, int slot, int channels, size_t bytes, uint64_t room);
/* Releases a slot that was claimed and not published. */
void nv_port_cancel_ir(nv_port *port, int slot);
/* Allocates the pages of `bytes` bytes before they are written. NV_E_MEMORY: no space. */
int nv_port_reserve(nv_port *port, int slot, size_t bytes);
/* After a crash of the control side: frees half-written slots. Parameters that were half written
 * stay unreadable until the next nv_port_set_params(). */
void nv_port_recover_control(nv_port *port);

/* Locks NV_LOCK_FIRST of NV_LOCK_STEPS parts of each slot, or more if the IRs in them need it, and
 * resets `locked_bytes`. For an audio process whose port is a file, before it starts. Without this
 * call all of a new port counts as locked, as in private memory. */
void nv_port_lock_memory(nv_port *port);
/* Locks more if a waiting IR needs it. Main thread, at each check. */
void nv_port_lock_more_memory(nv_port *port);
/* Audio side. Takes the newest slot that is READY, locked and newer than `after_serial`: it becomes
 * INCOMING. Returns its index or -1. Real-time safe. Older READY slots are left to the control
 * side: freeing one here could free a newer IR just written into it. */
int nv_port_take_ir(nv_port *port, uint64_t after_serial);
void nv_port_set_slot(nv_port *port, int slot, uint32_t state);
/* Before audio starts, after a crash of the audio side: makes the newest IR that it used READY
 * again and frees its other slots. */
void nv_port_recover_audio(nv_port *port);

#endif
