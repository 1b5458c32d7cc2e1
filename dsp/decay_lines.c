/* Where the room ends and a floor begins, and how bands go on: see shaping.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_build.h"
#include "shaping.h"

/* Levels in dB and times in s. */
static const float FLOOR = -120;                  /* silence, below the loudest cell */
static const float HEARD = 85, BAND_HEARD = 60;   /* below the loudest cell, and that of a band */
static const float LATER_S = 0.03f;               /* no direct sound after it */
static const float STEADY = 1;                    /* a band that changes by less is noise */
static const float SLOWEST = 1, FASTEST = 5000;   /* dB/s */
enum { LINE_FRAMES = 4 };                         /* a line starts from the mean of so many */

static float limited(float x, float low, float high) { return x < low ? low : x > high ? high : x; }
static float larger(float a, float b) { return a > b ? a : b; }
static int least(int a, int b) { return a < b ? a : b; }

/* Means over each band and its neighbours, `width` in all: narrow bands are noisy. */
static void average(const float *x, int bands, int width, float *out) {
    for (int b = 0; b < bands; b++) {
        float sum = 0;
        for (int k = b - width / 2; k <= b + width / 2; k++)
            sum += x[k < 0 ? 0 : least(k, bands - 1)];
        out[b] = sum / (float)width;
    }
}

typedef struct {
    const nv_falls *falls;
    int bands;
    const float *level;
    float top, end_s; /* the loudest cell; the end of what sounds */
    float *heard;     /* [bands]: what is below is no room */
    float *before, *after, *change, *mean; /* [bands] */
    int *is_steady;   /* [bands] */
    float *work;      /* [frames] */
} nv_map_of;

static const float *band_of(const nv_map_of *m, int band) {
    return m->level + (size_t)band * (size_t)m->falls->frames;
}

/* The mean level of each band between two shares of the sounding time. 0 if no frame is there. */
static int mean_levels(const nv_map_of *m, float from, float to, float *out) {
    const nv_falls *g = m->falls;
    int first = 0, end;
    while (first < g->frames && g->centre_s[first] / m->end_s < from) first++;
    for (end = first; end < g->frames && g->centre_s[end] / m->end_s < to;) end++;
    if (end == first) return 0;
    for (int b = 0; b < m->bands; b++) {
        float sum = 0;
        nv_best_simd()->powers(band_of(m, b) + first, m->top, end - first, m->work);
        for (int f = 0; f < end - first; f++) sum += m->work[f];
        out[b] = sum / (float)(end - first);
    }
    nv_best_simd()->decibels(out, m->bands, out);
    for (int b = 0; b < m->bands; b++) out[b] += m->top;
    return 1;
}

/* Whether the levels of two spans are there; then `change` is how far they fall. */
static int find_change(const nv_map_of *m, float from, float middle, float to) {
    if (!mean_levels(m, from, middle, m->before) || !mean_levels(m, middle, to, m->after)) return 0;
    for (int b = 0; b < m->bands; b++) m->change[b] = m->before[b] - m->after[b];
    return 1;
}

/* What is heard of a band at most: BAND_HEARD below its loudest cell. A direct sound that is part
 * of the map is no measure: the room is further below its peak. */
static void find_heard(nv_map_of *m) {
    const nv_falls *g = m->falls;
    int first = 0, sounding = 0;
    while (first < g->frames && !(g->centre_s[first] > LATER_S)) first++;
    if (first == g->frames) first = 0;
    float later = -1e30f;
    m->top = -1e30f;
    for (int b = 0; b < m->bands; b++) {
        const float *own = band_of(m, b);
        float top = own[first];
        for (int f = 0; f < g->frames; f++) m->top = larger(m->top, own[f]);
        for (int f = first; f < g->frames; f++) top = larger(top, own[f]);
        m->heard[b] = top - BAND_HEARD, later = larger(later, top);
    }
    float peak = m->top - limited(m->top - later - 10, 0, 30);
    for (int b = 0; b < m->bands; b++) {
        const float *own = band_of(m, b);
        m->heard[b] = larger(m->heard[b], peak - HEARD);
        for (int f = g->frames; f > sounding; f--)
            if (own[f - 1] > m->top + FLOOR + 1) sounding = f;
    }
    m->end_s = g->edge_s[sounding];
}

/* A band whose last tenth is as loud as the tenth before it has a floor of noise. */
static void hear_noise(nv_map_of *m) {
    if (!find_change(m, 0.8f, 0.9f, 1)) return;
    average(m->change, m->bands, 9, m->mean);
    for (int b = 0; b < m->bands; b++)
        if (fabsf(m->mean[b]) < 1.5f) m->heard[b] = larger(m->heard[b], m->after[b] + 10);
}

/* So does a band with a constant level in the middle third of the recording (a pilot tone, hum),
 * even if the end is faded out. A plateau before a gate is constant in all bands. */
static void hear_hum(nv_map_of *m) {
    int steady = 0;
    memset(m->is_steady, 0, (size_t)m->bands * sizeof *m->is_steady);
    if (!find_change(m, 0.4f, 0.6f, 0.8f)) return;
    average(m->change, m->bands, 3, m->mean);
    for (int b = 0; b < m->bands; b++) {
        int is_still = fabsf(m->mean[b]) < STEADY || fabsf(m->change[b]) < STEADY / 4;
        m->is_steady[b] = is_still && m->after[b] > m->top + FLOOR + 10;
        steady += m->is_steady[b];
    }
    for (int b = 0; b < m->bands; b++)
        if (steady > m->bands / 2)
            m->is_steady[b] = 0;
        else if (m->is_steady[b])
            m->heard[b] = larger(m->heard[b], m->after[b] + 10);
}

int nv_find_reliable(const nv_falls *g, int bands, const float *level_db, int32_t *last) {
    size_t each = (size_t)bands;
    float *memory = malloc((5 * each + (size_t)g->frames) * sizeof *memory + each * sizeof(int));
    if (!memory) return -1;
    nv_map_of m = {.falls = g, .bands = bands, .level = level_db, .heard = memory};
    m.before = m.heard + each, m.after = m.before + each, m.change = m.after + each;
    m.mean = m.change + each, m.work = m.mean + each, m.is_steady = (int *)(m.work + g->frames);
    find_heard(&m);
    hear_noise(&m);
    hear_hum(&m);
    for (int b = 0; b < bands; b++) {
        const float *own = band_of(&m, b);
        int f = g->frames - 1;
        while (f >= 0 && !(own[f] > m.heard[b]) && !(f == 0 && m.is_steady[b])) f--;
        last[b] = f < 0 ? g->frames - 1 : f < 4 ? least(4, g->frames - 1) : f;
    }
    free(memory);
    return 0;
}

/* The rate of a band: a straight line through the last two fifths of the time up to `last`. */
static float rate_of(const nv_falls *g, const float *level, int last) {
    double weight = 0, mean = 0, square = 0, sum = 0;
    int first = last > 3 ? last - 3 : 0;
    while (first > 0 && g->centre_s[first - 1] >= 0.6 * g->centre_s[last]) first--;
    for (int f = first; f <= last; f++) {
        double own = (double)g->edge_s[f + 1] - g->edge_s[f];
        weight += own, mean += own * g->centre_s[f];
    }
    mean /= weight;
    for (int f = first; f <= last; f++) {
        double own = ((double)g->edge_s[f + 1] - g->edge_s[f]) / weight;
        double off = g->centre_s[f] - mean;
        square += own * off * off, sum += own * off * level[f];
    }
    return limited((float)(-sum / (square > 1e-12 ? square : 1e-12)), SLOWEST, FASTEST);
}

int nv_find_lines(const nv_falls *g, int bands, const float *level_db, const int32_t *last,
                  float *start_db, float *rate_db_s) {
    float *own = calloc((size_t)bands, sizeof *own);
    if (!own) return -1;
    for (int b = 0; b < bands; b++)
        own[b] = rate_of(g, level_db + (size_t)b * (size_t)g->frames, last[b]);
    average(own, bands, 5, rate_db_s);
    free(own);
    for (int b = 0; b < bands; b++, level_db += g->frames) {
        start_db[b] = 0; /* from the mean of the last frames: a single one may be a dip */
        for (int k = 0; k < LINE_FRAMES; k++) {
            int f = last[b] > k ? last[b] - k : 0;
            start_db[b] += (level_db[f] + rate_db_s[b] * g->centre_s[f]) / LINE_FRAMES;
        }
    }
    return 0;
}

int nv_stretch_map(const nv_stretch *s, int bands, const float *level_db, const float *rate_db_s,
                   float *out_db) {
    const nv_simd *simd = nv_best_simd();
    int points = NV_POINTS * s->targets;
    size_t all = (size_t)points * (size_t)bands;
    float *at = malloc(all * sizeof *at), top = -1e30f;
    if (!at) return -1;
    for (int b = 0; b < bands; b++, level_db += s->frames)
        for (int i = 0; i < points; i++) {
            float level = level_db[s->frame[i]] + s->shift_db - rate_db_s[b] * s->beyond_s[i];
            at[(size_t)b * (size_t)points + (size_t)i] = level;
            top = larger(top, level);
        }
    float *own = at, least_db = top - s->depth_db;
    for (int b = 0; b < bands; b++, own += points, out_db += s->targets) {
        for (int i = 0; i < points; i++) own[i] = larger(own[i], least_db);
        for (int t = 0; t < s->targets; t++) {
            float sum = 0, *point = own + NV_POINTS * t;
            for (int k = 0; k < NV_POINTS; k++) sum += point[k];
            out_db[t] = sum / NV_POINTS; /* relative to it powers are in the range of float32 */
            for (int k = 0; k < NV_POINTS; k++) point[k] = limited(point[k] - out_db[t], -370, 370);
        }
        simd->powers(own, 0, points, own);
        for (int t = 0; t < s->targets; t++) {
            float sum = 0;
            for (int k = 0; k < NV_POINTS; k++) sum += own[NV_POINTS * t + k];
            own[t] = sum / NV_POINTS;
        }
        simd->decibels(own, s->targets, own);
        for (int t = 0; t < s->targets; t++) out_db[t] += own[t];
    }
    free(at);
    return 0;
}
