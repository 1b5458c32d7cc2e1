/* The tone of the wet sound: a low and a high shelf.
 *
 * Second-order shelves after R. Bristow-Johnson's audio EQ cookbook, slope 1, with the corners
 * (half of the gain in dB) at NV_TONE_LOW_HZ and NV_TONE_HIGH_HZ. A new gain is reached in a ramp
 * of the caller's length, linear in dB. At 0 dB a shelf changes no sample and costs nothing: after
 * a ramp to 0 it goes on for NV_TONE_REST_MS, until its memory has faded.
 *
 * Both calls are made by the audio thread: no allocation, bounded work.
 */
#ifndef NV_TONE_H
#define NV_TONE_H
#include "engine_filters.h"

enum { NV_TONE_LOW_HZ = 250, NV_TONE_HIGH_HZ = 3000, NV_TONE_REST_MS = 100 };

typedef struct {
    int high; /* 1: a high shelf */
    double rate_hz;
    ramp gain_db;
    int rest_frames; /* left, at 0 dB */
    biquad now;
    biquad_state state[NV_OUTPUTS];
} nv_shelf;

typedef struct {
    nv_shelf low, high;
} nv_tone;

void nv_tone_init(nv_tone *t, double rate_hz);
/* ramp_frames 0: jumps, before the first block. */
void nv_tone_set(nv_tone *t, double low_db, double high_db, int ramp_frames);
void nv_tone_run(nv_tone *t, float *const *x, int frames);
#endif
