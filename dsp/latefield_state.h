/* What latefield_build.c sets up and latefield.c plays: the late field's memory. */
#ifndef NV_LATEFIELD_STATE_H
#define NV_LATEFIELD_STATE_H
#include "kernel_simd.h"
#include "latefield.h"
#include "latefield_room.h"
#include "movement.h"
#include "shimmer.h"

enum { NV_LATE_GUARD = 2 * NV_LATE_STEP, NV_LATE_HALF = NV_LATE_LINES / 2, NV_LATE_MOVED = 4 };
#define NV_LATE_GAIN 0.35355339f /* of a line: one of eight that share the sound of a side */

typedef struct {
    float fall[NV_LATE_FALLS + 1][NV_LATE_LINES], sum[2]; /* as nv_late_lines has them */
} nv_late_coefficients;

struct nv_latefield {
    nv_late_lines lines; /* first: aligned */
    const nv_simd *simd;
    int rate_hz, block, step;
    int delay[NV_LATE_LINES], ring_frames, seam, past_frames;
    float *ring[NV_LATE_LINES]; /* ring_frames + GUARD each: the end repeats the beginning */
    float *past[2];             /* the input: past_frames + GUARD each */
    float *pass[2][NV_LATE_PASSES]; /* pass_ring_frames + GUARD each */
    int pass_delay[2][NV_LATE_PASSES], pass_ring_frames;
    int tap_delay[NV_LATE_LINES], tap_least;
    int at, past_at;      /* where the next step is written */
    int64_t since;        /* frames since it woke; older samples are not read */
    int64_t past_since;   /* the same of the input, which is not kept while no long room plays */
    int64_t heard_since;  /* frames since the input was last open */
    int awake, goes_on;
    nv_late_coefficients room, next;
    int64_t next_in; /* frames until `next` becomes `room`: its first sound reaches the lines; -1:
                      * none waits */
    int fall_left, level_left; /* frames of glides */
    float level_to[NV_LATE_LEVELS + 1];
    float lossless[NV_LATE_FALLS + 1][NV_LATE_LINES];
    nv_late_check check;
    int hold, layer, caught_frames, catch_frames;
    double power, first_power;  /* of what is caught */
    float catch_gain, catch_whole; /* of what is caught: now, and of all of it */
    float through;              /* gain of the convolved sound */
    float open;                 /* gain of what comes in */
    float mute, mute_step;       /* 1 .. 0 while tails are cut */
    int quiet_frames;
    nv_swing swing; /* of the lengths of lines NV_LATE_MOVING */
    double moved_by, moved_hz;
    nv_shimmer shimmer;
    float rising, rising_gain; /* the amount wanted; the gain of the convolved sound in it */
    int interval;
    _Alignas(64) float risen[2][NV_LATE_STEP];
    _Alignas(64) float silence[2 * NV_LATE_STEP];
    _Alignas(64) float moved[NV_LATE_MOVED][NV_LATE_STEP];
    _Alignas(64) float partial[2 * NV_LATE_LINES][NV_LATE_STEP];
    _Alignas(64) float caught[2][NV_LATE_STEP], sound[2][NV_LATE_STEP];
    size_t bytes;
};
#endif
