#include "shimmer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_build.h"

enum { GUARD = 4 * NV_SHIMMER_STEP, NEAREST = NV_SHIMMER_STEP + 1 };
static const double GRAINS[2] = {1.02, 0.91}; /* of the sides, in NV_SHIMMER_GRAIN_MS */
static const double HIGHEST_RATIO = 2;
static const double LEAST_KEPT = 0.2; /* of the power of what a shifter gives, at small angles */
static const double ONE = 4294967296.0; /* a frame of a head's place */

/* The gain of what a shifter gives. */
static float kept(float sine) {
    return (float)sqrt(LEAST_KEPT + (1 - LEAST_KEPT) * sine * sine);
}

/* The largest weight with which an input frame is read: by all grains that reach it. 1: each frame
 * is read as often as it is written. */
static double most_read(double ratio) {
    double most = 0;
    for (int i = 0; i < 64; i++) {
        double sum = 0;
        for (double at = i / 128.0; at < ratio; at += 0.5) {
            double x = sin(M_PI * at / ratio);
            sum += x * x / ratio;
        }
        most = fmax(most, sum);
    }
    return most;
}

static void design(nv_shimmer *s, double rate_hz) {
    for (int i = 0; i < NV_SHIMMER_INTERVALS; i++) {
        s->ratio[i] = exp2(NV_SHIMMER_SEMITONES[i] / 12.0);
        s->gain[i] = (float)(1 / sqrt(fmax(1, most_read(s->ratio[i]))));
    }
    double high = tan(M_PI * NV_SHIMMER_LOW_HZ / rate_hz);
    s->high_a = (float)((1 - high) / (1 + high));
    biquad low = nv_filter_design(0, fmin(NV_SHIMMER_HIGH_HZ, 0.18 * rate_hz), rate_hz);
    s->low_b = (float)low.b0, s->low_a[0] = (float)low.a1, s->low_a[1] = (float)low.a2;
}

int nv_shimmer_init(nv_shimmer *s, double rate_hz, size_t *bytes) {
    *s = (nv_shimmer){.ring_frames = NV_SHIMMER_STEP, .simd = nv_best_simd()};
    s->angle_cos = 1, s->kept = kept(0);
    design(s, rate_hz);
    int ok = 1;
    for (int c = 0; c < 2; c++) {
        double steps = GRAINS[c] * NV_SHIMMER_GRAIN_MS * rate_hz / 1000 / (2 * NV_SHIMMER_STEP);
        s->shifter[c].grain_frames = 2 * NV_SHIMMER_STEP * (int)fmax(1, lrint(steps));
        double longest = s->shifter[c].grain_frames * (HIGHEST_RATIO - 1) + 4 * NV_SHIMMER_STEP;
        while (s->ring_frames < longest) s->ring_frames *= 2;
    }
    for (int c = 0; c < 2; c++) {
        nv_shifter *h = &s->shifter[c];
        h->window = calloc((size_t)h->grain_frames, sizeof(float));
        h->ring = calloc((size_t)(s->ring_frames + GUARD), sizeof(float));
        ok &= h->window && h->ring;
        *bytes += (size_t)(h->grain_frames + s->ring_frames + GUARD) * sizeof(float);
        for (int i = 0; h->window && i < h->grain_frames; i++) {
            double x = sin(M_PI * (i + 0.5) / h->grain_frames);
            h->window[i] = (float)(x * x);
        }
    }
    if (ok) nv_shimmer_clear(s);
    return ok;
}

void nv_shimmer_free(nv_shimmer *s) {
    for (int c = 0; c < 2; c++) free(s->shifter[c].window), free(s->shifter[c].ring);
}

void nv_shimmer_set(nv_shimmer *s, double amount, int interval, int ramp_frames) {
    s->interval = interval;
    if (amount > 0 && !nv_shimmer_acts(s)) nv_shimmer_clear(s);
    ramp_to(&s->amount, amount, ramp_frames);
}

int nv_shimmer_acts(const nv_shimmer *s) { return s->amount.value > 0 || s->amount.left; }

static void begin_grain(const nv_shimmer *s, int grain_frames, nv_shimmer_head *head) {
    double ratio = s->ratio[s->interval], farther = grain_frames * (ratio - 1),
           at = s->at - NEAREST - (farther > 0 ? ceil(farther) : 0);
    head->frame = 0, head->gain = s->gain[s->interval];
    head->at = (uint64_t)((at < 0 ? at + s->ring_frames : at) * ONE);
    head->pace = (uint64_t)(ratio * ONE);
}

void nv_shimmer_clear(nv_shimmer *s) {
    for (int c = 0; c < 2; c++) {
        nv_shifter *h = &s->shifter[c];
        memset(h->ring, 0, (size_t)(s->ring_frames + GUARD) * sizeof(float));
        h->high_x = h->high_y = h->low[0] = h->low[1] = 0;
        for (int k = 0; k < 2; k++) {
            begin_grain(s, h->grain_frames, &h->head[k]);
            h->head[k].frame = k * h->grain_frames / 2; /* of silence */
        }
    }
}

/* What a head reads in a step. */
static void read_head(const nv_shimmer *s, const nv_shifter *h, nv_shimmer_head *head, float *out,
                      int frames) {
    const float *ring = h->ring + (head->at >> 32);
    uint64_t at = head->at & 0xffffffff, pace = head->pace;
    for (int t = 0; t < frames; t++, at += pace) {
        const float *p = ring + (at >> 32);
        float part = (float)(int32_t)((uint32_t)at >> 1) * 4.6566129e-10f;
        out[t] = p[0] + part * (p[1] - p[0]);
    }
    head->at = ((head->at >> 32) << 32) + at, head->frame += frames;
    if (head->at >> 32 >= (uint64_t)s->ring_frames) head->at -= (uint64_t)s->ring_frames << 32;
}

/* What comes into a shifter, through its filters. */
static void write_ring(const nv_shimmer *s, nv_shifter *h, const float *x, int frames) {
    float high_x = h->high_x, high_y = h->high_y, one = h->low[0], two = h->low[1];
    float *to = h->ring + s->at, half = 0.5f * (1 + s->high_a);
    for (int t = 0; t < frames; t++) {
        high_y = half * (x[t] - high_x) + s->high_a * high_y, high_x = x[t];
        float in = s->low_b * high_y, y = in + one;
        one = 2 * in - s->low_a[0] * y + two, two = in - s->low_a[1] * y;
        to[t] = y;
    }
    h->high_x = high_x, h->high_y = high_y, h->low[0] = one, h->low[1] = two;
    if (s->at < GUARD)
        memcpy(h->ring + s->ring_frames + s->at, to, (size_t)frames * sizeof(float));
}

/* From a to b. */
static void along(float line[2], float a, float b, int frames) {
    line[0] = a, line[1] = (b - a) / (float)frames;
}

void nv_shimmer_step(nv_shimmer *s, const float *const *line, float *const *out,
                     const float *const *source, float source_gain, int frames) {
    double angle = M_PI_2 * ramp_skip(&s->amount, frames);
    float cosine = (float)cos(angle), sine = (float)sin(angle), keeps = kept(sine);
    float read[2][NV_SHIMMER_STEP], in[NV_SHIMMER_STEP];
    nv_shimmer_turn turn = {.head = {read[0], read[1]}, .in = in, .frames = frames};
    /* Between two angles: along the chord, a rotation that is softer by a little. */
    along(turn.cosine, s->angle_cos, cosine, frames), along(turn.sine, s->angle_sin, sine, frames);
    along(turn.keeps, s->kept, keeps, frames);
    along(turn.gain, source_gain / s->kept, source_gain / keeps, frames);
    for (int c = 0; c < 2; c++) {
        nv_shifter *h = &s->shifter[c];
        for (int k = 0; k < 2; k++) {
            if (h->head[k].frame == h->grain_frames) begin_grain(s, h->grain_frames, &h->head[k]);
            turn.window[k] = h->window + h->head[k].frame, turn.head_gain[k] = h->head[k].gain;
            read_head(s, h, &h->head[k], read[k], frames);
        }
        turn.line = line[c], turn.source = source[c], turn.out = out[c];
        s->simd->shimmer_turn(&turn);
        write_ring(s, h, in, frames);
    }
    s->angle_cos = cosine, s->angle_sin = sine, s->kept = keeps;
    s->at = (s->at + frames) & (s->ring_frames - 1);
}
