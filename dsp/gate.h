/* The gate of the room's input: what is softer than a threshold does not reach the room.
 *
 *   opens    when the key (key.h) reaches the threshold; within NV_GATE_ATTACK_MS
 *   holds    for `hold_ms` after the key was last above the threshold less NV_GATE_HYSTERESIS_DB
 *   closes   with a time constant of `release_ms`
 *
 * The gain passes two low-passes: no click, whatever the threshold does. Off and open (gain 1) it
 * changes no sample and costs nothing; switched off while it is closed, it opens first.
 *
 * Both calls are made by the audio thread: no allocation, bounded work.
 */
#ifndef NV_GATE_H
#define NV_GATE_H
#include "key.h"

enum { NV_GATE_ATTACK_MS = 5, NV_GATE_HYSTERESIS_DB = 6 };

typedef struct {
    int on, open;
    int hold_frames, held_frames; /* held: left of it */
    float opens_at, holds_at;     /* levels of the key */
    double attack, release;       /* of the distance, taken in a frame */
    double follow, gain;          /* after the first and the second low-pass */
    double rate_hz;
} nv_gate;

void nv_gate_init(nv_gate *g, double rate_hz);
void nv_gate_set(nv_gate *g, int on, double threshold_db, double hold_ms, double release_ms);
/* 1 if nv_gate_run() would change a sample or has to listen: else it needs no key. */
int nv_gate_acts(const nv_gate *g);
/* Changes x[0 .. channels-1] in place. */
void nv_gate_run(nv_gate *g, const float *key_steps, float *const *x, int channels, int frames);
#endif
