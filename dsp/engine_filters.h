/* The parts of the engine's signal path: ramps, low-pass and high-pass, pre-delay, DC offset. All
 * calls are real-time safe; x has NV_OUTPUTS channels and is changed in place. */
#ifndef NV_ENGINE_FILTERS_H
#define NV_ENGINE_FILTERS_H
#include "kernel.h"

typedef struct {
    double value, target, step;
    int left; /* frames left */
} ramp;

static inline void ramp_to(ramp *r, double target, int frames) {
    if (target == r->target) return;
    r->target = target;
    r->step = (target - r->value) / frames;
    r->left = frames;
}

static inline double ramp_next(ramp *r) {
    if (r->left == 0) return r->value;
    r->value = --r->left ? r->value + r->step : r->target;
    return r->value;
}

static inline double ramp_skip(ramp *r, int frames) {
    int n = frames < r->left ? frames : r->left;
    r->left -= n;
    r->value = r->left ? r->value + n * r->step : r->target;
    return r->value;
}

static inline void ramp_jump(ramp *r, double value) {
    *r = (ramp){.value = value, .target = value};
}

typedef struct {
    double b0, b1, b2, a1, a2;
} biquad;

typedef struct {
    double x1, x2, y1, y2;
} biquad_state;

/* Filters the frames from `start` on while the coefficients move linearly from *now to `to`, which
 * *now becomes; `amount`: 0 none .. 1 all of the filtered signal. */
void nv_biquad_run(biquad *now, biquad to, biquad_state *state, ramp *amount, float *const *x,
                   int start, int frames);

typedef struct {
    int highpass;
    double rate_hz;
    ramp log2_hz, amount; /* amount: 0 off .. 1 on */
    biquad now;
    biquad_state state[NV_OUTPUTS];
} filter;

biquad nv_filter_design(int highpass, double cutoff_hz, double rate_hz);
void nv_filter_run(filter *f, float *const *x, int frames);

typedef struct {
    int whole;     /* frames */
    float tap[4];  /* Lagrange weights at whole - 1 .. whole + 2 */
    double frames; /* as requested */
} delay_tap;

typedef struct {
    float *line[NV_OUTPUTS];
    int mask, write;
    delay_tap now, next;
    int fade_frames, faded; /* faded < fade_frames during a change */
} predelay;

delay_tap nv_delay_tap_at(double frames);
/* Delays x by `wanted_frames`; a new delay fades in over fade_frames. */
void nv_predelay_run(predelay *p, float *const *x, int frames, double wanted_frames);

typedef struct {
    double mean[NV_OUTPUTS];
    ramp amount; /* 0 none .. 1 subtracted */
    double held_s;
} offset_guard;

/* Subtracts a DC offset from x: 1 if there was one. `wanted` 0: subtracts none. */
int nv_offset_run(offset_guard *g, float *const *x, int frames, double rate_hz, int wanted);
#endif
