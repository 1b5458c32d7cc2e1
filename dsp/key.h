/* The level of the input as it is played, which keys the duck and the gate.
 *
 * The larger |sample| of the inputs, before `gain`. It rises at once and falls by
 * NV_KEY_FALL_DB_PER_S: at 40 Hz it ripples by 6 dB. Audio thread: no allocation, bounded work.
 */
#ifndef NV_KEY_H
#define NV_KEY_H
#include <math.h>

#include "kernel.h"

enum {
    NV_KEY_FALL_DB_PER_S = 500,
    NV_KEY_STEP = 16 /* frames: duck and gate look at the level once a step; divides each block */
};

typedef struct {
    float level, fall; /* fall: factor of a frame */
} nv_key;

static inline nv_key nv_key_at(double rate_hz) {
    return (nv_key){.fall = (float)pow(10, -NV_KEY_FALL_DB_PER_S / (20 * rate_hz))};
}

/* steps[i]: the level at the end of step i of the block. */
static inline void nv_key_run(nv_key *k, float *const *in, int inputs, int frames, float *steps) {
    const float *left = in[0], *right = in[inputs - 1];
    float level = k->level;
    for (int i = 0; i < frames; i++) {
        level = fmaxf(level * k->fall, fmaxf(fabsf(left[i]), fabsf(right[i])));
        if (i % NV_KEY_STEP == NV_KEY_STEP - 1) steps[i / NV_KEY_STEP] = level;
    }
    k->level = level < 1e-12f ? 0 : level;
}
#endif
