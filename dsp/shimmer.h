/* Shimmer: the tail rises, an octave or another interval at a time.
 *
 * Two lines of the late field, one for each side, are coupled to a pitch shifter each:
 *
 *   line -+--> x cos -----> + -> line, on its way to the matrix     angle = amount * 90 degrees
 *         |                 |
 *         +-> x -sin -> +   +<--- x sin <-+
 *                       |                 |
 *   source x sin -----> + -> high-pass, low-pass -> two heads --+
 *                       +<--- x cos <---------------------------+
 *
 *   stable      the coupling is a rotation: it neither adds energy nor loses any, at each amount
 *               and while that changes. The filters and the heads make nothing louder either: the
 *               windows of the heads add up to 1, and read all that comes in equally often; an
 *               interval for which they do not is softer by that. So what the network does not gain
 *               without shimmer, it does not gain with it.
 *   softly      at a small angle most of what a shifter gives would go into it again, and rise to
 *               the top at once: it gives less then, and takes more of the source
 *   heads       each reads a grain of about NV_SHIMMER_GRAIN_MS at the ratio of the interval, in a
 *               Hann window; the other one is half a grain later. The grains of the sides differ
 *               in length, so that the sides beat differently.
 *   filters     NV_SHIMMER_LOW_HZ: nothing sinks below what can be heard; NV_SHIMMER_HIGH_HZ: what
 *               rises ends softly, and below half of the rate.
 *
 * A new amount is reached in a ramp of the caller's length, a new interval with the next grains.
 * With amount 0 it changes no sample and costs nothing. nv_shimmer_init() allocates; the other
 * calls are made by the audio thread: no allocation, bounded work.
 */
#ifndef NV_SHIMMER_H
#define NV_SHIMMER_H
#include "engine_filters.h"
#include "kernel_simd.h"

enum {
    NV_SHIMMER_STEP = 64, /* frames at a time, at most; a multiple of 16 */
    NV_SHIMMER_GRAIN_MS = 100,
    NV_SHIMMER_LOW_HZ = 100,
    NV_SHIMMER_HIGH_HZ = 4500,
    NV_SHIMMER_INTERVALS = 4
};
/* In semitones; by their numbers, as the parameter. */
static const int NV_SHIMMER_SEMITONES[NV_SHIMMER_INTERVALS] = {12, 7, 5, -12};

typedef struct {
    int frame;              /* of its grain */
    uint64_t at, pace;      /* where it reads in the ring, and how far in a frame: frames << 32 */
    float gain;
} nv_shimmer_head;

typedef struct {
    int grain_frames;
    float *window, *ring;
    nv_shimmer_head head[2];
} nv_shifter;

typedef struct {
    const nv_simd *simd;
    ramp amount;
    int interval;
    double ratio[NV_SHIMMER_INTERVALS];
    float gain[NV_SHIMMER_INTERVALS];
    nv_shimmer_filter filter;
    int ring_frames, at;
    nv_shifter shifter[2];
    double turned; /* the amount of these, at the begin of the step */
    float angle_cos, angle_sin, kept;
} nv_shimmer;

/* 0: out of memory. Adds the bytes allocated to *bytes. */
int nv_shimmer_init(nv_shimmer *s, double rate_hz, size_t *bytes);
void nv_shimmer_free(nv_shimmer *s);
/* interval: its number */
void nv_shimmer_set(nv_shimmer *s, double amount, int interval, int ramp_frames);
static inline int nv_shimmer_acts(const nv_shimmer *s) {
    return s->amount.value > 0 || s->amount.left;
}
/* Forgets what it has heard. */
void nv_shimmer_clear(nv_shimmer *s);
/* A step: line[side] -> out[side]; source[side] comes in, too, at this gain. */
void nv_shimmer_step(nv_shimmer *s, const float *const *line, float *const *out,
                     const float *const *source, float source_gain, int frames);
#endif
