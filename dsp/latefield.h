/* The late field: what rings after the convolved part of a long room, and what `hold` keeps.
 *
 * A feedback delay network of 16 lines (Jot & Chaigne 1991) behind the convolution:
 *
 *   gained -> filter (level) -> delay of the seam -> taps -+-> lines -> filters (fall) -+-> wet
 *                                                          ^                            |
 *                                  wet, while it is caught +---- Hadamard matrix <------+
 *
 *   long room   its IR ends at the seam, and fades out over NV_LATE_FADE_MS there, while the lines
 *               fill up: the sound comes to them delayed by the seam, at the level that the room
 *               has there. They fall as the room falls, in each octave. How: nv_late_room, which
 *               the control process fits to the room (dsp/latefield.py).
 *   room change the lines keep what rings. What was played before falls as its room does until the
 *               first sound of the next long room reaches the lines; a short room changes nothing.
 *               With tails that follow, lines fall as the new room from the change on; tails that
 *               are cut fade out.
 *   hold        what rings is caught for NV_HOLD_MS, and the lines stop falling: their loop is
 *               lossless, exactly. Freeze: the convolution's input is closed (the engine does
 *               that), and the convolved sound fades out while it is caught. Layer: what is
 *               played goes on into the room, and is added to what is held. Afterwards the lines
 *               fall as the room does.
 *   movement    the lengths of four lines swing. What they lose by it is air: between two frames
 *               the highest octave falls a little. So lines that never fall do not swing: not while
 *               they hold, nor in a room without an end.
 *   shimmer     what rings rises, an octave or another interval at a time: shimmer.h. It takes the
 *               convolved sound, too, and so is heard in each room, also in one that fits: the
 *               lines then have nothing but shimmer, and fall as the newest room.
 *   silence     while nothing rings and no long room plays, it does nothing and costs nothing
 *
 * nv_latefield_new() allocates everything; the other calls have the guarantees of kernel.h.
 */
#ifndef NV_LATEFIELD_H
#define NV_LATEFIELD_H
#include "kernel.h"
#include "latefield_lines.h"

enum {
    NV_LATE_SEAM_MS = 3000,  /* the seam begins here, or earlier in an engine for shorter IRs */
    NV_LATE_FADE_MS = 300,   /* and lasts this long */
    NV_LATE_LEAST_MS = 1000, /* no seam earlier */
    NV_HOLD_MS = 1000
};

/* How a room goes on. Plain data, in shared memory beside the room's spectra. */
typedef struct nv_late_room {
    float goes_on;      /* 1: after the seam; 0: its IR is all of it */
    float middle, side; /* gains of two sums of lines: left is their sum, right the difference */
    float reserved;
    float level[NV_LATE_LEVELS + 1];              /* gains of the filter at the input */
    float fall[NV_LATE_FALLS + 1][NV_LATE_LINES]; /* of each line's filter; see latefield_lines.h,
                                                   * but each one-pole has a gain of 1 at 0 Hz */
} nv_late_room;

typedef struct nv_latefield nv_latefield;

/* The frame at which the seam begins, or 0: IRs of max_taps are too short for one. */
int nv_late_seam(int rate_hz, int max_taps);
/* The length of each line in frames. */
void nv_late_delays(int rate_hz, int delay[NV_LATE_LINES]);
/* The frequencies of the one-poles: pole = exp(-2 pi hz / rate). */
void nv_late_poles(int rate_hz, double fall_hz[NV_LATE_FALLS], double level_hz[NV_LATE_LEVELS]);

/* NULL: out of memory. block_frames: as in kernel.h. */
nv_latefield *nv_latefield_new(int rate_hz, int block_frames, int max_taps);
void nv_latefield_free(nv_latefield *l);
/* Bytes allocated. */
size_t nv_latefield_bytes(const nv_latefield *l);

/* This room plays from the next block on; its input fades in over fade_frames. Values come from
 * shared memory: those that are not finite or not stable are not used. Audio thread. */
void nv_latefield_room(nv_latefield *l, const nv_late_room *room, int fade_frames, nv_tails tails);
/* Audio thread. */
void nv_latefield_hold(nv_latefield *l, int hold, int layer);
/* Modulates lines against each other: amount 0 .. 1, see movement.h. Audio thread. */
void nv_latefield_move(nv_latefield *l, double amount, double hz);
/* How much of the tail rises: amount 0 .. 1, interval as in shimmer.h. Audio thread. */
void nv_latefield_shimmer(nv_latefield *l, double amount, int interval);
/* 0: nothing to do, process() need not be called. Audio thread. */
int nv_latefield_sounds(const nv_latefield *l);
/* gained: what went into the convolution, `inputs` sides; wet: what came out, 2 sides, to which the
 * late field is added. A block. Audio thread. */
void nv_latefield_process(nv_latefield *l, const float *const *gained, int inputs,
                          float *const *wet);
#endif
