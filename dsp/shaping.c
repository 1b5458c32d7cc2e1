#include "shaping.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_build.h"

/* A band's smooth decay is at most this factor steeper than its decay curve from -5 to -35 dB. */
static const float DETAIL_RATE = 1.2f;
enum { ROUNDS = 6, T30_POINTS = 5 };

static float limited(float x, float low, float high) { return x < low ? low : x > high ? high : x; }
static float larger(float a, float b) { return a > b ? a : b; }
static float power(float db) { return exp2f(0.332192809f * db); }
static float decibels(float power) { return 3.01029996f * log2f(larger(power, 1e-30f)); }

void nv_find_rows(const float *matrix, int columns, int32_t *rows) {
    for (int from = 0; from < columns; from += 4, rows += 2) {
        rows[0] = rows[1] = 0;
        for (int i = 0; i < columns; i++)
            for (int f = from; f < from + 4 && f < columns; f++)
                if (matrix[(size_t)i * (size_t)columns + (size_t)f] != 0) {
                    if (!rows[1]) rows[0] = i;
                    rows[1] = i + 1;
                }
    }
}

static float loudest(const float *level, int frames) {
    float top = level[0];
    for (int f = 1; f < frames; f++) top = larger(top, level[f]);
    return top;
}

/* When the decay curve of a band passes each limit, which fall; the end of the map if it does not.
 * left: work space of frames + 1. */
static void find_crossings(const nv_falls *g, const float *level, const float *direct, int count,
                           const float *limit_db, float *left, float *time_s) {
    int frames = g->frames, f = 0;
    float top = loudest(level, frames), sum = 0;
    nv_best_simd()->powers(level, top, frames, left);
    left[frames] = 0;
    for (int i = frames - 1; i >= 0; i--)
        left[i] = sum += left[i] * (g->edge_s[i + 1] - g->edge_s[i]);
    float whole = sum + (direct ? power(*direct - top) : 0);
    for (int i = 0; i < count; i++) {
        float least = whole * power(limit_db[i]);
        while (f < frames && left[f] >= least) f++;
        int after = f < 1 ? 1 : f > frames - 1 ? frames - 1 : f;
        float high = decibels(left[after - 1] / whole), low = decibels(left[after] / whole);
        float part = limited((high - limit_db[i]) / larger(high - low, 1e-6f), 0, 1);
        time_s[i] = g->edge_s[after - 1] + part * (g->edge_s[after] - g->edge_s[after - 1]);
    }
}

/* A straight line through the times at which the decay curve passes five levels. */
static float t30_s(const nv_falls *g, const float *level, const float *direct, float *left) {
    static const float limit_db[T30_POINTS] = {-5, -12.5f, -20, -27.5f, -35};
    float time_s[T30_POINTS], sum = 0;
    find_crossings(g, level, direct, T30_POINTS, limit_db, left, time_s);
    for (int i = 0; i < T30_POINTS; i++) sum += (limit_db[i] + 20) * time_s[i];
    return larger(-60 * sum / 562.5f, 1e-3f);
}

/* work: 2 x (frames + 1). */
static void find_fall(const nv_falls *g, const float *level, float *work, float *fall) {
    static const float limit_db[2] = {-5, -35};
    const nv_simd *simd = nv_best_simd();
    float *smooth = work, *rate = work + g->frames + 1, time_s[2], top = loudest(level, g->frames);
    find_crossings(g, level, NULL, 2, limit_db, work, time_s);
    float mean = 30 / larger(time_s[1] - time_s[0], 0.01f);
    memcpy(smooth, level, (size_t)g->frames * sizeof *smooth);
    simd->powers(level, top, g->early, rate);
    simd->weighted_sums(rate, g->blur, g->early, g->blur_rows, smooth);
    simd->decibels(smooth, g->early, smooth);
    for (int f = 0; f < g->early; f++) smooth[f] += top;
    simd->weighted_sums(smooth, g->slope, g->frames, g->slope_rows, rate);
    fall[0] = 0;
    for (int f = 0; f < g->frames; f++) {
        /* Before the curve has fallen by 5 dB: a constant level is a falling diffuse field plus
         * arriving reflections; a rising level is a swell, which does not change. */
        float own = g->centre_s[f] < time_s[0] ? limited(1 - 2 * rate[f] / mean, 0, 1) * mean
                                               : limited(-rate[f], 0, DETAIL_RATE * mean);
        fall[f + 1] = fall[f] + own * (g->edge_s[f + 1] - g->edge_s[f]);
    }
}

typedef struct {
    float low, high, wanted_s, ratio;
} nv_search; /* of the share of a band */

/* 1 / decay for a straight decay; otherwise a few rounds find it. work: 2 x (frames + 1). */
static void find_shares(const nv_falls *g, int bands, const float *level, const float *direct,
                        float decay, const float *fall, nv_search *search, float *work,
                        float *share) {
    int frames = g->frames;
    float *tried = work, *left = work + frames + 1, first = 1 / decay;
    /* A gate's T30 does not change. Bounds that approach 1 with the control. */
    float bound[2] = {powf(first, 0.4f), first * first};
    for (int b = 0; b < bands; b++) {
        const float *own = level + (size_t)b * (size_t)frames;
        share[b] = first;
        search[b].low = bound[bound[0] > bound[1]], search[b].high = bound[bound[0] <= bound[1]];
        search[b].wanted_s = decay * t30_s(g, own, direct ? direct + b : NULL, left);
    }
    for (int round = 0; round < ROUNDS; round++) {
        int is_done = 1;
        for (int b = 0; b < bands; b++) {
            const float *own = level + (size_t)b * (size_t)frames;
            const float *edge = fall + (size_t)b * (size_t)(frames + 1);
            float half = 0.5f * (1 - share[b]); /* the centre of a frame is half-way */
            for (int f = 0; f < frames; f++) tried[f] = own[f] + half * (edge[f] + edge[f + 1]);
            float found_s = t30_s(g, tried, direct ? direct + b : NULL, left);
            search[b].ratio = found_s / search[b].wanted_s;
            is_done &= fabsf(search[b].ratio - 1) < 0.01f;
        }
        if (is_done) return;
        for (int b = 0; b < bands; b++) {
            /* A larger share shortens the decay, but in leaps if a second, slower decay appears:
             * bisect on overshoot. */
            nv_search *s = &search[b];
            float guess = share[b] * s->ratio;
            if (s->ratio > 1) s->low = share[b];
            if (s->ratio < 1) s->high = share[b];
            if (guess > s->low && guess < s->high)
                share[b] = guess;
            else if (s->ratio != 1)
                share[b] = sqrtf(s->low * s->high);
        }
    }
}

int nv_find_falls(const nv_falls *g, int bands, const float *level_db, const float *direct_db,
                  float decay, float *fall_db, float *share) {
    size_t frames = (size_t)g->frames;
    nv_search *search = malloc((size_t)bands * sizeof *search + 2 * (frames + 1) * sizeof(float));
    if (!search) return -1;
    float *work = (float *)(search + bands);
    for (size_t b = 0; b < (size_t)bands; b++)
        find_fall(g, level_db + b * frames, work, fall_db + b * (frames + 1));
    if (decay == 1)
        for (int b = 0; b < bands; b++) share[b] = 1;
    else
        find_shares(g, bands, level_db, direct_db, decay, fall_db, search, work, share);
    free(search);
    return 0;
}
