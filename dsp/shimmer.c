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
    biquad low = nv_filter_design(0, fmin(NV_SHIMMER_HIGH_HZ, 0.18 * rate_hz), rate_hz);
    s->filter.high_a = (float)((1 - high) / (1 + high));
    s->filter.high_b = (float)low.b0 * 0.5f * (1 + s->filter.high_a);
    s->filter.low_a[0] = (float)low.a1, s->filter.low_a[1] = (float)low.a2;
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

static void begin_grain(const nv_shimmer *s, int grain_frames, nv_shimmer_head *head) {
    double ratio = s->ratio[s->interval], farther = grain_frames * (ratio - 1),
           at = s->at - NEAREST - (farther > 0 ? ceil(farther) : 0);
    head->frame = 0, head->gain = s->gain[s->interval];
    head->at = (uint64_t)((at < 0 ? at + s->ring_frames : at) * ONE);
    head->pace = (uint64_t)(ratio * ONE);
}

void nv_shimmer_clear(nv_shimmer *s) {
    nv_shimmer_filter *f = &s->filter;
    for (int c = 0; c < 2; c++) f->before[c] = f->high[c] = f->low[0][c] = f->low[1][c] = 0;
    for (int c = 0; c < 2; c++) {
        nv_shifter *h = &s->shifter[c];
        memset(h->ring, 0, (size_t)(s->ring_frames + GUARD) * sizeof(float));
        for (int k = 0; k < 2; k++) {
            begin_grain(s, h->grain_frames, &h->head[k]);
            h->head[k].frame = k * h->grain_frames / 2; /* of silence */
        }
    }
}

/* What a head reads in a step. */
static void read_head(const nv_shimmer *s, const nv_shifter *h, nv_shimmer_head *head, float *out,
                      int frames) {
    float part = (float)(int32_t)((uint32_t)head->at >> 1) * 4.6566129e-10f;
    s->simd->shimmer_read(out, h->ring + (head->at >> 32), part,
                          (float)(int64_t)head->pace * (float)(1 / ONE), frames);
    head->at += head->pace * (uint64_t)frames, head->frame += frames;
    if (head->at >> 32 >= (uint64_t)s->ring_frames) head->at -= (uint64_t)s->ring_frames << 32;
}

/* From a to b. */
static void along(float line[2], float a, float b, int frames) {
    line[0] = a, line[1] = (b - a) / (float)frames;
}

void nv_shimmer_step(nv_shimmer *s, const float *const *line, float *const *out,
                     const float *const *source, float source_gain, int frames) {
    float cosine = s->angle_cos, sine = s->angle_sin, keeps = s->kept;
    double amount = s->amount.left ? ramp_skip(&s->amount, frames) : s->amount.value;
    int glides = amount != s->turned;
    if (glides) {
        cosine = (float)cos(M_PI_2 * amount), sine = (float)sin(M_PI_2 * amount);
        keeps = kept(sine), s->turned = amount;
    }
    float read[2][NV_SHIMMER_STEP], in[2][NV_SHIMMER_STEP];
    nv_shimmer_turn turn = {.head = {read[0], read[1]}, .frames = frames, .glides = glides};
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
        turn.line = line[c], turn.source = source[c], turn.out = out[c], turn.in = in[c];
        s->simd->shimmer_turn(&turn);
    }
    const float *inputs[2] = {in[0], in[1]};
    float *rings[2] = {s->shifter[0].ring + s->at, s->shifter[1].ring + s->at};
    s->simd->shimmer_filter(&s->filter, inputs, rings, frames);
    for (int c = 0; c < 2 && s->at < GUARD; c++)
        memcpy(rings[c] + s->ring_frames, rings[c], (size_t)frames * sizeof(float));
    s->angle_cos = cosine, s->angle_sin = sine, s->kept = keeps;
    s->at = (s->at + frames) & (s->ring_frames - 1);
}
