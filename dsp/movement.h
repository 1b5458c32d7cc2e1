/* Movement: delays that swing slowly, so that a tail does not stand still.
 *
 *   nv_swing      up to NV_SWING_VOICES offsets of delays, in frames: sines of nearly the same
 *                 rate, whose phases and rates differ, so that no two keep in step. The pitch of
 *                 each swings by NV_MOVEMENT_CENTS * amount ^ NV_MOVEMENT_POWER: 1.5 at 30 %.
 *                 Slow ones would need long ways: none moves by more than NV_MOVEMENT_MS to each
 *                 side, so below 0.4 Hz 12 cents become fewer. Lines of the late field swing so
 *                 (latefield.h).
 *   nv_movement   the same for all of the wet sound: each side in a delay line of its own, of two
 *                 swings at most and NV_MOVEMENT_BASE frames.
 *
 * A new amount or rate is reached in a glide that bends the pitch by NV_MOVEMENT_GLIDE_CENTS for
 * each swing: up to 2.6 s. With amount 0 it changes no sample and costs nothing.
 * nv_movement fades in and out over NV_MOVEMENT_FADE_MS.
 *
 * All calls but nv_movement_init() and nv_movement_free() are made by the audio thread: no
 * allocation, bounded work.
 */
#ifndef NV_MOVEMENT_H
#define NV_MOVEMENT_H
#include "engine_filters.h"
#include "kernel_simd.h"

enum {
    NV_MOVEMENT_CENTS = 12,
    NV_MOVEMENT_GLIDE_CENTS = 2,
    NV_MOVEMENT_MS = 3,
    NV_MOVEMENT_MOST_MS = 4, /* of a voice that is slower than the others */
    NV_MOVEMENT_BASE = 3,
    NV_MOVEMENT_FADE_MS = 20,
    NV_MOVEMENT_STEP = 64,   /* frames at a time, at most; a multiple of 16 */
    NV_SWING_VOICES = 4
};
#define NV_MOVEMENT_POWER 1.7272 /* log(1.5 / 12) / log(0.3) */

typedef struct {
    double rate_hz, most, glide;       /* frames; frames a frame */
    double bend, hz;                   /* wanted: of the pitch, as a ratio less 1; of the first */
    double width, speed;               /* as they are: frames to each side; radians a frame */
    int voices;
    float re[NV_SWING_VOICES], im[NV_SWING_VOICES]; /* where each is on its circle */
    float pace[NV_SWING_VOICES], share[NV_SWING_VOICES]; /* of `speed`, and of `width` */
    /* Of the step: a voice's offset at its frame t is from + t * slope, and its width alike. */
    float from[NV_SWING_VOICES], slope[NV_SWING_VOICES], width_from, width_slope;
} nv_swing;

void nv_swing_init(nv_swing *s, double rate_hz, int voices);
/* amount: 0 .. 1 */
void nv_swing_set(nv_swing *s, double amount, double hz);
/* 0: all offsets are 0 and stay so; nv_swing_step() need not be called. */
static inline int nv_swing_acts(const nv_swing *s) { return s->bend > 0 || s->width > 0; }
/* The next step, of at most NV_MOVEMENT_STEP frames. */
void nv_swing_step(nv_swing *s, int frames);

/* What nv_simd's delayed() reads in a step: its first frame needs frames that are `oldest` old and
 * younger; `delay` counts from the one that is `newest` old. */
typedef struct {
    int oldest, newest;
    float delay;
} nv_reach;
nv_reach nv_swing_reach(double delay, double slope, int frames);

typedef struct {
    nv_swing swing;
    const nv_simd *simd;
    int ring_frames, at, block, fade_frames;
    ramp amount;    /* 0 as it comes .. 1 moved */
    float *line[2]; /* ring_frames; then the first ones again */
} nv_movement;

/* 0: out of memory. block_frames: as in kernel.h. */
int nv_movement_init(nv_movement *m, double rate_hz, int block_frames);
void nv_movement_free(nv_movement *m);
void nv_movement_set(nv_movement *m, double amount, double hz);
/* Changes a block of x, 2 sides, in place. */
void nv_movement_run(nv_movement *m, float *const *x);
#endif
