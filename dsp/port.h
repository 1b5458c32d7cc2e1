/* The port: the one block of memory between the audio thread and whoever steers it (the control process, a test, a renderer).
 *
 * It may be private memory or a file in shared memory: it holds no pointers. One writer steers, one audio thread plays; neither
 * ever waits for the other, and either may die at any instruction and be started again on the same port.
 *
 *   offset  bytes  field            written by   meaning
 *        0      8  magic            creator      "nverbprt"
 *        8      4  version          creator      NV_PORT_VERSION; any change of this table raises it
 *       12      4  rate_hz          creator      sampling rate of the engine
 *       16      8  bytes            creator      size of the whole port
 *       24      8  slot_bytes       creator      size of each spectra slot, a multiple of 4096
 *       32      4  ready            creator      1 when all of the above and the layout are written
 *       64    120  layout           creator      nv_layout: how spectra for this engine are cut
 *      256      4  params_sequence  steering     odd while the parameters are being written
 *      260     64  params[16]       steering     float32 bits, in the order of engine_params.h
 *      384    3x64 slot[3]          both         state, channels, bytes, serial, room, held: see nv_port_slot
 *      576     ..  meters           audio        see nv_meters
 *     4096     ..  spectra          steering     NV_SLOTS times slot_bytes
 *
 * A slot's life:  FREE -> WRITING -> READY        (steering)
 *                 READY -> INCOMING -> PLAYING -> FREE   (audio; INCOMING -> READY if its memory is not held yet)
 *                 READY -> WRITING                (steering takes back what has not been played: the latest wins)
 * The kernel holds two slots at most, so the third can always be written: no queue, no wait, bounded memory.
 *
 * A slot has room for the longest IR with the most channels; few pedals ever play one. So the audio process keeps in memory (locked, and
 * in its page tables) what rooms have needed so far, of all slots alike, and a step more: `held`. An IR that reaches further is not
 * taken until its main thread has seen to that, at its next look (watchdog.h): the callback never waits for a page. What was never held nor
 * written takes no memory where the port is a file.
 */
#ifndef NV_PORT_H
#define NV_PORT_H
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "engine_params.h"
#include "kernel.h"
#include "meters.h"

enum {
    NV_PORT_VERSION = 3,
    NV_SLOTS = 3,
    NV_PARAMS = 16,
    NV_PORT_HEADER_BYTES = 4096,
    NV_HOLD_STEPS = 8,
    NV_HOLD_FIRST = 2
};

enum { NV_SLOT_FREE, NV_SLOT_WRITING, NV_SLOT_READY, NV_SLOT_INCOMING, NV_SLOT_PLAYING };

typedef struct nv_port_slot {
    _Atomic uint32_t state;
    uint32_t channels;       /* of the IR: 1, 2 or 4 */
    _Atomic uint64_t bytes;  /* of the spectra */
    _Atomic uint64_t serial; /* counts up with every IR published: the highest is the newest */
    uint64_t
        room; /* fingerprint of the IR, 0 if unknown: lets a restarted steering process see what plays */
    _Atomic uint64_t
        held; /* bytes of the slot that are in the audio side's memory; written by its main thread */
    uint8_t reserved[24];
} nv_port_slot;

typedef struct nv_port {
    char magic[8];
    uint32_t version, rate_hz;
    uint64_t bytes, slot_bytes;
    _Atomic uint32_t ready;
    _Alignas(64) nv_layout layout;
    _Alignas(256) _Atomic uint32_t params_sequence;
    _Atomic uint32_t params[NV_PARAMS];
    _Alignas(128) nv_port_slot slot[NV_SLOTS];
    nv_meters meters;
} nv_port;

_Static_assert(offsetof(nv_port, layout) == 64, "port layout");
_Static_assert(offsetof(nv_port, params_sequence) == 256, "port layout");
_Static_assert(offsetof(nv_port, slot) == 384, "port layout");
_Static_assert(offsetof(nv_port, meters) == 576, "port layout");
_Static_assert((int)NV_PARAMS_USED <= (int)NV_PARAMS, "port layout");
_Static_assert(sizeof(nv_port) <= NV_PORT_HEADER_BYTES, "port layout");

/* Bytes of a port for this layout with room in each slot for an IR of max_taps taps and `ir_channels` channels. */
size_t nv_port_bytes(const nv_layout *layout, int ir_channels);
/* Makes a port with default parameters in memory aligned to 64 bytes. Called by the creator, before another process
 * opens it. NV_OK or an error. */
int nv_port_create(void *memory, size_t bytes, const nv_layout *layout, int ir_channels,
                   uint32_t rate_hz);
/* NV_OK if the memory holds a whole, ready port that this build understands; checks every field that is used later. */
int nv_port_check(const void *memory, size_t bytes);
static inline void *nv_port_spectra(nv_port *port, int slot) {
    return (char *)port + NV_PORT_HEADER_BYTES + (size_t)slot * port->slot_bytes;
}

/* Steering side: one caller at a time (the control process holds a file lock). */
void nv_port_set_params(nv_port *port, const float values[NV_PARAMS]);
/* 1 if a whole set was read, 0 if a writer was in the middle (values untouched). Either side; real-time safe. */
int nv_port_get_params(const nv_port *port, float values[NV_PARAMS]);
/* Takes a slot to write the next IR into: its index, never -1 on a sound port. */
int nv_port_begin_ir(nv_port *port);
/* Hands a written slot to the audio side. Returns the serial given to it. */
uint64_t nv_port_publish_ir(nv_port *port, int slot, int channels, size_t bytes, uint64_t room);
/* Gives back a slot that was begun and not published. */
void nv_port_cancel_ir(nv_port *port, int slot);
/* Before so many bytes are written into a slot: NV_E_MEMORY where they cannot be had. */
int nv_port_make_room(nv_port *port, int slot, size_t bytes);
/* After a crash of the steering side: frees slots that were left half written, evens the parameters' sequence. */
void nv_port_recover_steering(nv_port *port);

/* Holds NV_HOLD_FIRST of NV_HOLD_STEPS parts of each slot, or more for the IRs in them. A new port counts as held whole, as private
 * memory is: so this is for an audio process whose port is a file, before it starts; what one before it held is forgotten. */
void nv_port_hold(nv_port *port);
/* Holds more if an IR waits for that: the main thread, at each look. */
void nv_port_hold_more(nv_port *port);
/* Audio side. The newest slot that is READY, held and newer than `after_serial`, now INCOMING, or -1. Real-time safe. An older READY
 * slot is left alone: steering takes it back. (To free it here could free a newer IR that was just written into it.) */
int nv_port_take_ir(nv_port *port, uint64_t after_serial);
void nv_port_set_slot(nv_port *port, int slot, uint32_t state);
/* Before audio starts, after a crash of the audio side: makes the newest whole IR READY again and frees what else it held. */
void nv_port_recover_audio(nv_port *port);

#endif
