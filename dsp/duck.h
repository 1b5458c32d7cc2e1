/* The duck: turns the wet sound down while the player plays, and lets it come up in the pauses.
 *
 *   share    how far it is down: 0 while the key (key.h) is below NV_DUCK_FROM_DB, 1 from
 *            NV_DUCK_TO_DB on, linear in dB between. It follows the key with a time constant of
 *            NV_DUCK_ATTACK_MS, and goes back with one of `release_ms`
 *   gain     -depth_db * share, through a low-pass with a time constant of NV_DUCK_SMOOTH_MS: no
 *            bend of the gain that could be heard
 *
 * So after a note the reduction in dB falls as exp(-t / release_ms). A new depth is reached in a
 * ramp of the caller's length. With depth 0 it changes no sample and costs nothing.
 *
 * Both calls are made by the audio thread: no allocation, bounded work.
 */
#ifndef NV_DUCK_H
#define NV_DUCK_H
#include "engine_filters.h"
#include "key.h"

enum {
    NV_DUCK_FROM_DB = -45,
    NV_DUCK_TO_DB = -25,
    NV_DUCK_ATTACK_MS = 10,
    NV_DUCK_SMOOTH_MS = 5
};

typedef struct {
    ramp depth_db;
    double share, down_db; /* followed; after the low-pass */
    double attack, release, smooth; /* of the distance, taken in a step */
    double rate_hz;
    float gain;
} nv_duck;

void nv_duck_init(nv_duck *d, double rate_hz);
/* ramp_frames 0: jumps, before the first block. */
void nv_duck_set(nv_duck *d, double depth_db, double release_ms, int ramp_frames);
/* 1 if nv_duck_run() would change a sample: else it needs no key. */
int nv_duck_acts(const nv_duck *d);
void nv_duck_run(nv_duck *d, const float *key_steps, float *const *wet, int frames);
#endif
