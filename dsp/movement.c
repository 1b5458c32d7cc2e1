#include "movement.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_build.h"

static const double SPEED_S = 0.05; /* time constant of the rate */
enum { TAPS = 6, GUARD = 2 * NV_MOVEMENT_STEP };

static double bend_of(double cents) { return exp2(cents / 1200) - 1; }

void nv_swing_init(nv_swing *s, double rate_hz, int voices) {
    *s = (nv_swing){.rate_hz = rate_hz, .voices = voices, .hz = 1};
    s->most = NV_MOVEMENT_MS * rate_hz / 1000;
    s->glide = bend_of(NV_MOVEMENT_GLIDE_CENTS);
    for (int i = 0; i < voices; i++) { /* evenly spread; the second one a quarter ahead */
        double pace = i ? 0.8 + 0.45 * fmod(0.35 + i * 0.6180339887, 1) : 1,
               turn = 2 * M_PI * 0.75 * i + 2 * M_PI * 0.0048776662 * (i > 1 ? i : 0);
        s->pace[i] = (float)pace, s->share[i] = (float)(1 / pace);
        s->re[i] = (float)cos(turn), s->im[i] = (float)sin(turn);
    }
}

void nv_swing_set(nv_swing *s, double amount, double hz) {
    s->bend = amount > 0 ? bend_of(NV_MOVEMENT_CENTS * pow(amount, NV_MOVEMENT_POWER)) : 0;
    s->hz = hz;
}

/* Width and speed go towards what is wanted; meanwhile no pitch bends further than by that and the
 * glide. */
static void follow(nv_swing *s, int frames) {
    double speed = 2 * M_PI * s->hz / s->rate_hz, wanted = fmin(s->bend / speed, s->most),
           most = s->glide * frames;
    s->width = fmin(fmax(wanted, s->width - most), s->width + most);
    if (s->width * speed > s->bend) speed = s->bend / s->width;
    s->speed += (speed - s->speed) * frames / (frames + SPEED_S * s->rate_hz);
}

void nv_swing_step(nv_swing *s, int frames) {
    float width = (float)s->width;
    follow(s, frames);
    float next = (float)s->width, angle = (float)(s->speed * frames), part = 1.0f / (float)frames;
    s->width_from = width, s->width_slope = (next - width) * part;
    for (int i = 0; i < s->voices; i++) {
        /* A turn by a small angle; its length is kept at 1. */
        float a = angle * s->pace[i], c = 1 - a * a * 0.5f, b = a - a * a * a / 6;
        float re = s->re[i] * c - s->im[i] * b, im = s->im[i] * c + s->re[i] * b;
        float length = 1.5f - 0.5f * (re * re + im * im);
        re *= length, im *= length;
        s->from[i] = width * s->share[i] * s->im[i];
        s->slope[i] = (next * s->share[i] * im - s->from[i]) * part;
        s->re[i] = re, s->im[i] = im;
    }
}

nv_reach nv_swing_reach(double delay, double slope, int frames) {
    double end = delay + slope * frames;
    int oldest = (int)(end > delay ? end : delay) + TAPS / 2 + 1,
        newest = (int)(end > delay ? delay : end) - TAPS / 2;
    return (nv_reach){oldest, newest, (float)(delay - newest)};
}

/* ---- the wet sound --------------------------------------------------------------------------- */

int nv_movement_init(nv_movement *m, double rate_hz, int block_frames) {
    *m = (nv_movement){.block = block_frames, .simd = nv_best_simd()};
    nv_swing_init(&m->swing, rate_hz, 2);
    m->fade_frames = (int)(NV_MOVEMENT_FADE_MS * rate_hz / 1000);
    int most = 2 * NV_MOVEMENT_MOST_MS * (int)rate_hz / 1000 + NV_MOVEMENT_BASE + GUARD;
    for (m->ring_frames = GUARD; m->ring_frames < most; m->ring_frames *= 2) {}
    for (int c = 0; c < 2; c++)
        m->line[c] = calloc((size_t)(m->ring_frames + GUARD), sizeof(float));
    return m->line[0] && m->line[1];
}

void nv_movement_free(nv_movement *m) { free(m->line[0]), free(m->line[1]); }

void nv_movement_set(nv_movement *m, double amount, double hz) {
    nv_swing_set(&m->swing, amount, hz);
}

static void move(nv_movement *m, float *const *x, int done, int frames) {
    const nv_swing *s = &m->swing;
    ramp amount = m->amount;
    for (int c = 0; c < 2; c++) {
        float moved[NV_MOVEMENT_STEP], *out = x[c] + done, *line = m->line[c];
        memcpy(line + m->at, out, (size_t)frames * sizeof(float));
        if (m->at < GUARD)
            memcpy(line + m->ring_frames + m->at, out, (size_t)frames * sizeof(float));
        double delay = (double)s->width_from * s->share[c] + s->from[c] + NV_MOVEMENT_BASE,
               slope = (double)s->width_slope * s->share[c] + s->slope[c];
        nv_reach reach = nv_swing_reach(delay, slope, frames);
        const float *window = line + ((m->at - reach.oldest) & (m->ring_frames - 1));
        m->simd->delayed(moved, window + reach.oldest - reach.newest, reach.delay, (float)slope, 1,
                         frames);
        amount = m->amount;
        if (amount.left || amount.value < 1)
            for (int i = 0; i < frames; i++)
                out[i] += (float)ramp_next(&amount) * (moved[i] - out[i]);
        else
            memcpy(out, moved, (size_t)frames * sizeof(float));
    }
    m->amount = amount;
    m->at = (m->at + frames) & (m->ring_frames - 1);
}

void nv_movement_run(nv_movement *m, float *const *x) {
    if (m->amount.value == 0 && !m->amount.left) {
        if (!nv_swing_acts(&m->swing)) return;
        for (int c = 0; c < 2; c++) /* what is in the lines is old */
            memset(m->line[c], 0, (size_t)(m->ring_frames + GUARD) * sizeof(float));
        m->at = 0;
    }
    int step = m->block < NV_MOVEMENT_STEP ? m->block : NV_MOVEMENT_STEP;
    for (int done = 0; done < m->block; done += step) {
        nv_swing_step(&m->swing, step);
        ramp_to(&m->amount, nv_swing_acts(&m->swing), m->fade_frames);
        move(m, x, done, step);
    }
}
