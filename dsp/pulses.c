#include "pulses.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_build.h"

/* A tap takes energy from this far to both sides, at most MOST of a cell's, with all others. */
static const float REACH_S = 0.003f, MOST = 0.95f;
static const double LARGEST_GAIN = 2; /* of a pulse that the noise cancels */

static float smaller(float a, float b) { return a < b ? a : b; }
static float larger(float a, float b) { return a > b ? a : b; }

/* Number of frames up to the last tap. */
static int frames_used(const nv_pulses *p, const nv_taps *taps) {
    float last = 0;
    for (int n = 0; n < taps->count; n++) last = larger(last, taps->time_s[n]);
    int used = 0;
    while (used < p->frames && p->centre_s[used] < last + REACH_S) used++;
    used++;
    return used < 2 ? 2 : used > p->frames ? p->frames : used;
}

typedef struct {
    int tap, frame;
    float near;
} nv_pair; /* a tap takes energy from a frame; 1 in its middle, 0 where it is out of reach */

static int find_pairs(const nv_pulses *p, const nv_taps *taps, int used, nv_pair *pair) {
    int pairs = 0;
    for (int n = 0; n < taps->count; n++)
        for (int f = 0; f < used; f++) {
            float away = fabsf(taps->time_s[n] - p->centre_s[f]);
            float near = 1 - away / larger(REACH_S, p->frame_s[f]);
            if (near > 0) pair[pairs++] = (nv_pair){n, f, near};
        }
    return pairs;
}

static float loudest(const float *level, size_t count) {
    float top = level[0];
    for (size_t i = 1; i < count; i++) top = larger(top, level[i]);
    return top;
}

/* share: [count][bands], of the energy around each tap in each band. */
static void find_shares(const nv_pulses *p, const nv_taps *taps, float *share) {
    for (int n = 0; n < taps->count; n++, share += p->bands) {
        for (int b = 0; b < p->bands; b++) share[b] = taps->tilt_db[n] * p->octave[b];
        nv_best_simd()->powers(share, 0, p->bands, share);
        for (int b = 0; b < p->bands; b++) share[b] *= fabsf(taps->share[n]) * p->reflected[b];
    }
}

/* A band. work: 2 x used. power: the frames' before, then what the taps leave is in dB. */
static void split_band(const nv_pulses *p, const nv_taps *taps, int band, const nv_pair *pair,
                       int pairs, const float *share, float *power, float *taken, int used,
                       float *energy) {
    memset(taken, 0, (size_t)used * sizeof *taken);
    for (int i = 0; i < pairs; i++) {
        float own = share[(size_t)pair[i].tap * (size_t)p->bands + (size_t)band];
        taken[pair[i].frame] += pair[i].near * smaller(own, MOST);
    }
    for (int f = 0; f < used; f++) {
        float part = smaller(MOST / larger(taken[f], 1e-9f), 1);
        taken[f] = 1 - taken[f] * part;
        power[f] *= part * p->frame_s[f];
    }
    for (int i = 0; i < pairs; i++)
        energy[(size_t)pair[i].tap * (size_t)p->bands + (size_t)band] +=
            power[pair[i].frame] * pair[i].near;
    for (int n = 0; n < taps->count; n++) {
        size_t at = (size_t)n * (size_t)p->bands + (size_t)band;
        energy[at] *= fabsf(taps->share[n]) > 1 ? share[at] : smaller(share[at], MOST);
    }
    nv_best_simd()->decibels(taken, used, taken);
}

int nv_split_taps(const nv_pulses *p, const nv_taps *taps, const float *level_db, float *left_db,
                  float *energy_db) {
    const nv_simd *simd = nv_best_simd();
    size_t frames = (size_t)p->frames, cells = frames * (size_t)p->bands;
    size_t shares = (size_t)taps->count * (size_t)p->bands;
    int used = frames_used(p, taps);
    nv_pair *pair = malloc((size_t)taps->count * (size_t)used * sizeof *pair +
                           (shares + 2 * (size_t)used) * sizeof(float));
    if (!pair) return -1;
    float *share = (float *)(pair + (size_t)taps->count * (size_t)used);
    float *power = share + shares, *taken = power + used, top = loudest(level_db, cells);
    int pairs = find_pairs(p, taps, used, pair);
    find_shares(p, taps, share);
    memset(energy_db, 0, shares * sizeof *energy_db);
    memcpy(left_db, level_db, cells * sizeof *left_db);
    for (int b = 0; b < p->bands; b++, left_db += frames) {
        simd->powers(left_db, top, used, power);
        split_band(p, taps, b, pair, pairs, share, power, taken, used, energy_db);
        for (int f = 0; f < used; f++) left_db[f] += taken[f];
    }
    simd->decibels(energy_db, (int)shares, energy_db);
    for (size_t i = 0; i < shares; i++) energy_db[i] += top;
    free(pair);
    return 0;
}

/* ---- pulses ---------------------------------------------------------------------------------- */

int nv_make_pulses(const nv_pulses *p, int count, const float *energy_db, float *pulse) {
    size_t size = (size_t)p->size, half = size / 2, bands = (size_t)p->bands, line = 64;
    /* One piece, aligned here: glibc's aligned_alloc() uses freed memory badly. */
    size_t floats = 16 * size + 3 * size + 4 * half + 4 * bands + 4 * (half + 1);
    char *memory = malloc(floats * sizeof(float) + line);
    if (!memory) return -1;
    float *x = (float *)(memory + -(uintptr_t)memory % line);
    nv_pulse_work work = {.x = x, .y = x + 4 * size, .points = {x + 8 * size, x + 12 * size}};
    work.fold = x + 16 * size, work.halves = work.fold + size, work.fades = work.halves + size;
    float *four = work.fades + size, *level = four + 4 * half;
    work.level = level + 4 * bands;
    for (size_t i = 0; i < size; i++) {
        float scale = 1 / (float)size;
        work.fold[i] = i > half ? 0 : (i && i < half ? 2 : 1) * scale;
        work.fades[i] = i < half ? p->fade[i] * scale : 0;
        work.halves[i] = 0.5f;
    }
    for (int from = 0; from < count; from += 4) {
        int lanes = count - from < 4 ? count - from : 4;
        for (size_t b = 0; b < bands; b++)
            for (int k = 0; k < 4; k++)
                level[4 * b + (size_t)k] =
                    energy_db[(size_t)(k < lanes ? k : 0) * bands + b] - p->density_db[b];
        nv_best_simd()->four_pulses(p, level, &work, four);
        for (int k = 0; k < lanes; k++, pulse += half)
            for (size_t i = 0; i < half; i++) pulse[i] = four[4 * i + (size_t)k];
        energy_db += 4 * bands;
    }
    free(memory);
    return 0;
}

/* Mean squares of the noise in each frame, of all bands, relative to 10 ** (top / 10). */
static void find_mean_squares(const nv_pulses *p, const float *left_db, float top, int used,
                              float *work, float *square) {
    memset(square, 0, (size_t)used * sizeof *square);
    for (int b = 0; b < p->heard; b++, left_db += p->frames) {
        nv_best_simd()->powers(left_db, top, used, work);
        for (int f = 0; f < used; f++) square[f] += work[f];
    }
}

/* square, at frames' centres, at a time. */
static double at_time(const nv_pulses *p, const float *square, int used, float time_s) {
    if (time_s <= p->centre_s[0]) return square[0];
    if (time_s >= p->centre_s[used - 1]) return square[used - 1];
    int f = 1;
    while (p->centre_s[f] < time_s) f++;
    float low = p->centre_s[f - 1], share = (time_s - low) / (p->centre_s[f] - low);
    return square[f - 1] + share * (square[f] - square[f - 1]);
}

typedef struct {
    float *const *side; /* left, right */
    int samples;
} nv_sound;

/* The strength with which the millisecond around a pulse has the energy that it and the noise, of
 * mean square `square`, should have: the noise is random, and may cancel the pulse. */
static double gain_of(const nv_pulses *p, const nv_sound *sound, const float *pulse, int begin,
                      const float *pan, double square) {
    int ahead = p->window_frames / 2 - p->window_frames / 12; /* pulses come after they begin */
    double energy = 0, there = 0, both = 0, whole = 0;
    for (int i = 0; i < p->window_frames; i++) {
        double own = i >= ahead && i - ahead < p->size / 2 ? pulse[i - ahead] : 0;
        double w = p->window[i];
        int at = begin - ahead + i;
        whole += w, energy += w * own * own;
        if (at < 0 || at >= sound->samples) continue;
        for (int c = 0; c < 2; c++) {
            double noise = sound->side[c][at];
            there += w * noise * noise / 2, both += w * noise * own * pan[c] / 2;
        }
    }
    double missing = square * whole + energy - there, sum = both * both + energy * missing;
    double gain = (sqrt(sum > 0 ? sum : 0) - both) / (energy > 1e-30 ? energy : 1e-30);
    return gain < 0 ? 0 : gain > LARGEST_GAIN ? LARGEST_GAIN : gain;
}

static void find_pan(float side, float width, float *pan) {
    float at = side * fabsf(width), most = at < -1 ? -1 : at > 1 ? 1 : at;
    float angle = (float)(M_PI / 4) * (1 + most);
    pan[0] = (float)M_SQRT2 * cosf(angle), pan[1] = (float)M_SQRT2 * sinf(angle);
}

static void add_pulses(const nv_pulses *p, const nv_taps *taps, float width, const float *pulse,
                       const float *square, int used, double unit, const nv_sound *sound,
                       float *gain) {
    int half = p->size / 2;
    for (int pass = 0; pass < 2; pass++) /* first all gains: pulses are no noise */
        for (int n = 0; n < taps->count; n++) {
            float begins = rintf(taps->time_s[n] * (float)p->rate_hz), pan[2];
            if (!(begins >= 0 && begins < (float)sound->samples)) continue;
            const float *own = pulse + (size_t)n * (size_t)half;
            int begin = (int)begins;
            find_pan(taps->side[n], width, pan);
            if (pass == 0) {
                double mean = at_time(p, square, used, taps->time_s[n]) * unit;
                gain[n] = (float)gain_of(p, sound, own, begin, pan, mean);
                continue;
            }
            int end = sound->samples - begin < half ? sound->samples - begin : half;
            for (int c = 0; c < 2; c++)
                for (int i = 0; i < end; i++)
                    sound->side[c][begin + i] += pan[c] * gain[n] * own[i];
        }
}

int nv_add_taps(const nv_pulses *p, const nv_taps *taps, const float *left_db,
                const float *energy_db, float width, float *left, float *right, int samples) {
    int half = p->size / 2, used = frames_used(p, taps);
    size_t sounds = (size_t)taps->count * (size_t)half;
    float *pulse = malloc((sounds + (size_t)taps->count + 2 * (size_t)used) * sizeof *pulse);
    if (!pulse || nv_make_pulses(p, taps->count, energy_db, pulse)) {
        free(pulse);
        return -1;
    }
    for (int n = 0; n < taps->count; n++)
        if (taps->share[n] < 0)
            for (int i = 0; i < half; i++) pulse[(size_t)n * (size_t)half + (size_t)i] *= -1;
    float *gain = pulse + sounds, *square = gain + taps->count;
    float top = loudest(left_db, (size_t)p->heard * (size_t)p->frames);
    find_mean_squares(p, left_db, top, used, square + used, square);
    nv_sound sound = {.side = (float *const[]){left, right}, .samples = samples};
    add_pulses(p, taps, width, pulse, square, used, pow(10, top / 10.0) / p->rate_hz, &sound, gain);
    free(pulse);
    return 0;
}
