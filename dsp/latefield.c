#include "latefield.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_build.h"
#include "latefield_room.h"
#include "movement.h"
#include "shimmer.h"

enum { GUARD = 2 * NV_LATE_STEP, HALF = NV_LATE_LINES / 2, RAMP_MS = 20, HEARD_FRAMES = 30 };
static const int64_t LATER_ON = INT64_MAX; /* at the end of `hold` */
static const double SILENT = 1e-7; /* -140 dB */
/* In shares of the seam: the taps come in along SPREAD of it, LATER after its begin. */
static const double SPREAD = 0.25, LATER = 0.54;
static const float GAIN = 0.35355339f; /* of a line: one of eight that share the sound of a side */
static const int PASS_FRAMES[2][NV_LATE_PASSES] = {{409, 887, 1367, 2251},
                                                   {461, 821, 1489, 2137}};
static const float CATCH_MOST = 64, CATCH_LEAST = 0.25f;
static const int RISING[2] = {4, 12}; /* the lines that shimmer, one for each side */

typedef struct {
    float level[3][NV_LATE_LEVELS], fall[NV_LATE_FALLS][3][NV_LATE_LINES];
    float out[2]; /* middle, side */
} coefficients;

struct nv_latefield {
    nv_late_lines lines; /* first: aligned */
    const nv_simd *simd;
    int rate_hz, block, step;
    int delay[NV_LATE_LINES], ring_frames, seam, past_frames;
    float *ring[NV_LATE_LINES]; /* ring_frames + GUARD each: the end repeats the beginning */
    float *past[2];             /* the input: past_frames + GUARD each */
    float *pass[2][NV_LATE_PASSES]; /* pass_ring_frames + GUARD each */
    int pass_delay[2][NV_LATE_PASSES], pass_ring_frames;
    int tap_delay[NV_LATE_LINES];
    int at, past_at;      /* where the next step is written */
    int64_t since;        /* frames since it woke; older samples are not read */
    int64_t past_since;   /* the same of the input, which is not kept while no long room plays */
    int64_t heard_since;  /* frames since the input was last open */
    int awake, goes_on;
    coefficients room, next; /* `next` becomes `room` when its first sound reaches the lines */
    int64_t next_in;         /* frames; -1: none waits */
    int fall_left, level_left; /* frames of glides */
    int level_known;           /* what went into the sections at the last frame */
    float level_to[3][NV_LATE_LEVELS];
    float lossless[NV_LATE_FALLS][3][NV_LATE_LINES];
    int hold, layer, caught_frames, catch_frames;
    double power, first_power;  /* of what is caught */
    float catch_gain;           /* of what is caught */
    float through;              /* gain of the convolved sound */
    float open;                 /* gain of what comes in */
    float mute, mute_step;       /* 1 .. 0 while tails are cut */
    int quiet_frames;
    nv_swing swing; /* of the lines' lengths: movement.h */
    nv_shimmer shimmer;
    float rising, rising_gain; /* the amount wanted; the gain of the convolved sound in it */
    int interval;
    _Alignas(64) float risen[2][NV_LATE_STEP];
    _Alignas(64) float silence[2 * NV_LATE_STEP];
    _Alignas(64) float moved[NV_LATE_LINES][NV_LATE_STEP];
    _Alignas(64) float partial[2 * NV_LATE_LINES + 1][NV_LATE_STEP];
    _Alignas(64) float caught[2][NV_LATE_STEP], sound[2][NV_LATE_STEP];
    size_t bytes;
};

/* Where a share of the seam's energy has come in: a raised cosine's. */
static double arrival(double share) {
    double low = 0, high = 1;
    for (int i = 0; i < 40; i++) {
        double x = (low + high) / 2;
        if (x - sin(2 * M_PI * x) / (2 * M_PI) < share)
            low = x;
        else
            high = x;
    }
    return low;
}

static void place_taps(nv_latefield *l) {
    double spread = SPREAD * l->rate_hz * NV_LATE_FADE_MS / 1000.0, later = LATER * spread / SPREAD;
    for (int k = 0; k < NV_LATE_LINES; k++) {
        int line = (k & 1) * HALF + (k / 2 * 5 & (HALF - 1)); /* the sides take turns */
        l->tap_delay[line] = l->seam + (int)(later + spread * arrival((k + 0.5) / NV_LATE_LINES)) -
                             l->delay[line];
        for (int i = 0; i < NV_LATE_PASSES; i++)
            l->tap_delay[line] -= l->pass_delay[k & 1][i];
    }
    static const float sign[] = {1, 1, -1, 1, -1, -1, 1, -1, 1, -1, -1, 1, 1, 1, -1, -1};
    for (int i = 0; i < NV_LATE_LINES; i++) l->lines.sign[i] = sign[i];
}

static float *allocate(nv_latefield *l, int frames) {
    size_t bytes = ((size_t)frames * sizeof(float) + 63) / 64 * 64;
    void *memory = aligned_alloc(64, bytes);
    if (memory) memset(memory, 0, bytes), l->bytes += bytes;
    return memory;
}

nv_latefield *nv_latefield_new(int rate_hz, int block_frames, int max_taps) {
    size_t bytes = (sizeof(nv_latefield) + 63) / 64 * 64;
    nv_latefield *l = aligned_alloc(64, bytes);
    if (!l) return NULL;
    memset(l, 0, bytes);
    l->bytes = bytes, l->simd = nv_best_simd();
    l->rate_hz = rate_hz, l->block = block_frames;
    l->step = block_frames < NV_LATE_STEP ? block_frames : NV_LATE_STEP;
    l->seam = nv_late_seam(rate_hz, max_taps);
    nv_late_delays(rate_hz, l->delay);
    nv_swing_init(&l->swing, rate_hz, NV_LATE_LINES);
    int longest = 0, moves = NV_MOVEMENT_MOST_MS * rate_hz / 1000;
    for (int i = 0; i < NV_LATE_LINES; i++)
        if (l->delay[i] > longest) longest = l->delay[i];
    l->ring_frames = NV_LATE_STEP;
    while (l->ring_frames < longest + moves + 2 * NV_LATE_STEP) l->ring_frames *= 2;
    l->pass_ring_frames = NV_LATE_STEP;
    for (int c = 0; c < 2; c++)
        for (int i = 0; i < NV_LATE_PASSES; i++) {
            l->pass_delay[c][i] = nv_late_at_rate(PASS_FRAMES[c][i], rate_hz);
            while (l->pass_ring_frames < l->pass_delay[c][i] + NV_LATE_STEP)
                l->pass_ring_frames *= 2;
        }
    place_taps(l);
    l->past_frames = l->seam + rate_hz * NV_LATE_FADE_MS / 1000 + 2 * NV_LATE_STEP;
    l->past_frames = l->past_frames / NV_LATE_STEP * NV_LATE_STEP;
    int ok = 1;
    for (int i = 0; i < NV_LATE_LINES; i++)
        ok &= (l->ring[i] = allocate(l, l->ring_frames + GUARD)) != NULL;
    for (int c = 0; l->seam && c < 2; c++) {
        ok &= (l->past[c] = allocate(l, l->past_frames + GUARD)) != NULL;
        for (int i = 0; i < NV_LATE_PASSES; i++)
            ok &= (l->pass[c][i] = allocate(l, l->pass_ring_frames + GUARD)) != NULL;
    }
    ok &= nv_shimmer_init(&l->shimmer, rate_hz, &l->bytes);
    if (!ok) return nv_latefield_free(l), NULL;
    for (int i = 0; i < NV_LATE_LINES; i++) l->lossless[0][0][i] = 0.25f;
    for (int k = 1; k < NV_LATE_FALLS; k++)
        for (int i = 0; i < NV_LATE_LINES; i++) l->lossless[k][0][i] = 1;
    memcpy(l->lines.fall, l->lossless, sizeof l->lines.fall);
    l->room.out[0] = l->room.out[1] = (float)M_SQRT1_2;
    l->next_in = -1, l->through = l->mute = 1, l->open = GAIN;
    l->catch_frames = rate_hz / 1000 * NV_HOLD_MS;
    return l;
}

void nv_latefield_free(nv_latefield *l) {
    if (!l) return;
    for (int i = 0; i < NV_LATE_LINES; i++) free(l->ring[i]);
    for (int c = 0; c < 2; c++) {
        for (int i = 0; i < NV_LATE_PASSES; i++) free(l->pass[c][i]);
        free(l->past[c]);
    }
    nv_shimmer_free(&l->shimmer);
    free(l);
}

size_t nv_latefield_bytes(const nv_latefield *l) { return l->bytes; }
int nv_latefield_sounds(const nv_latefield *l) { return l->awake; }

/* ---- changes --------------------------------------------------------------------------------- */

static int ramp_frames(const nv_latefield *l) { return l->rate_hz * RAMP_MS / 1000; }

static void wake(nv_latefield *l) {
    if (l->awake) return;
    l->awake = 1, l->since = l->past_since = l->quiet_frames = 0;
    memset(l->lines.fall_state, 0, sizeof l->lines.fall_state);
    memset(l->lines.fall_last, 0, sizeof l->lines.fall_last);
    memset(l->lines.level_state, 0, sizeof l->lines.level_state);
    memset(l->lines.level_passed, 0, sizeof l->lines.level_passed);
    memset(l->lines.level, 0, sizeof l->lines.level);
    memcpy(l->lines.fall, l->hold ? l->lossless : l->room.fall, sizeof l->lines.fall);
    l->lines.middle = l->room.out[0], l->lines.side = l->room.out[1];
    l->lines.middle_step = l->lines.side_step = 0;
    l->fall_left = l->level_known = 0, l->mute = 1, l->mute_step = 0;
    if (nv_shimmer_acts(&l->shimmer)) nv_shimmer_clear(&l->shimmer);
}

static void fall_as(nv_latefield *l, const coefficients *room) {
    l->room = *room, l->next_in = -1;
    l->rising_gain = nv_late_rising_gain(room->fall, l->delay, l->rate_hz);
    l->fall_left = ramp_frames(l);
}

void nv_latefield_room(nv_latefield *l, const nv_late_room *room, int fade_frames, nv_tails tails) {
    int usable = nv_late_fits(room);
    l->goes_on = usable && l->seam && room->goes_on >= 0.5f;
    if (usable) {
        coefficients *next = &l->next;
        memcpy(next->level, room->level, sizeof next->level);
        memcpy(next->fall, room->fall, sizeof next->fall);
        next->out[0] = room->middle, next->out[1] = room->side;
        for (int i = 0; i < NV_LATE_LINES; i++)
            next->fall[0][0][i] *= 0.25f, next->fall[0][1][i] *= 0.25f; /* of the matrix */
        if (!l->awake || tails != NV_TAILS_KEEP || nv_shimmer_acts(&l->shimmer))
            fall_as(l, next);
        else if (l->goes_on && (l->next_in < 0 || l->next_in == LATER_ON))
            l->next_in = l->seam;
        else if (!l->goes_on && l->next_in < 0)
            l->next_in = LATER_ON;
    }
    if (l->goes_on) wake(l);
    memset(l->level_to, 0, sizeof l->level_to);
    if (l->goes_on) memcpy(l->level_to, room->level, sizeof l->level_to);
    l->level_left = l->awake ? fade_frames : 0;
    if (tails == NV_TAILS_CUT && l->awake && !l->hold) l->mute_step = -1.0f / (float)fade_frames;
}

/* What is held stays as it is: its shimmer is in it, and no more is made. */
static void rise(nv_latefield *l) {
    double amount = l->hold ? 0 : l->rising;
    if (amount > 0) wake(l);
    if (amount > 0 && l->next_in == LATER_ON) fall_as(l, &l->next);
    nv_shimmer_set(&l->shimmer, amount, l->interval, 3 * ramp_frames(l));
}

void nv_latefield_shimmer(nv_latefield *l, double amount, int interval) {
    l->rising = (float)amount, l->interval = interval;
    rise(l);
}

void nv_latefield_hold(nv_latefield *l, int hold, int layer) {
    l->layer = layer;
    if (hold == l->hold) return;
    l->hold = hold;
    if (hold) {
        wake(l);
        l->caught_frames = 0, l->power = l->first_power = 0;
        l->fall_left = ramp_frames(l);
    } else {
        if (l->next_in >= 0) l->room = l->next, l->next_in = -1;
        l->fall_left = ramp_frames(l);
    }
    rise(l);
}

void nv_latefield_move(nv_latefield *l, double amount, double hz) {
    nv_swing_set(&l->swing, amount, hz);
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* `frames` frames, the first of which is `delay` old. Those from before it woke are 0. */
static const float *awaken(const nv_latefield *l, const float *from, int delay, int64_t since,
                           float *partial, int frames) {
    if (since + frames <= delay) return l->silence;
    int old = delay - (int)since;
    memset(partial, 0, (size_t)old * sizeof(float));
    memcpy(partial + old, from + old, (size_t)(frames - old) * sizeof(float));
    return partial;
}

static inline const float *read_ring(const nv_latefield *l, const float *ring, int ring_frames,
                                     int at, int delay, int64_t since, float *partial) {
    int from = at - delay;
    from += from < 0 ? ring_frames : 0;
    return since >= delay ? ring + from : awaken(l, ring + from, delay, since, partial, l->step);
}

/* What leaves line i while its length changes. The lines lose nothing by that: what they give more
 * slowly, they give as much louder. */
static const float *read_moved(nv_latefield *l, int i) {
    const nv_swing *s = &l->swing;
    float begin = s->from[i], end = begin + s->slope[i] * (float)l->step;
    enum { BELOW = 1 << 16 }; /* rounds downwards */
    int most = (int)((begin > end ? begin : end) + BELOW) - BELOW + 4,
        least = (int)((begin > end ? end : begin) + BELOW) - BELOW - 3;
    int delay = l->delay[i] + most, frames = l->step + most - least, from = l->at - delay;
    from += from < 0 ? l->ring_frames : 0;
    float partial[2 * NV_LATE_STEP];
    const float *window = l->ring[i] + from;
    if (l->since < delay) window = awaken(l, window, delay, l->since, partial, frames);
    l->simd->delayed(l->moved[i], window + most - least, (double)begin - least, s->slope[i],
                     sqrtf(1 - s->slope[i]), l->step);
    return l->moved[i];
}

static void write_guard(float *ring, int ring_frames, int at, int frames) {
    memcpy(ring + ring_frames + at, ring + at, (size_t)frames * sizeof(float));
}

/* As late_glide_falls of kernel_simd.h, for the sections at the input. */
static void glide_level(nv_late_lines *lines, const float (*to)[NV_LATE_LEVELS], float share) {
    for (int k = 0; k < NV_LATE_LEVELS; k++) {
        float change[3];
        for (int q = 0; q < 3; q++) {
            change[q] = share * (to[q][k] - lines->level[q][k]);
            lines->level[q][k] += change[q];
        }
        for (int c = 0; c < 2; c++) /* what left it is what comes to the next one */
            lines->level_state[c][k] +=
                change[1] * lines->level_last[c][k] -
                change[2] * lines->level_passed[c][(k + 1) & (NV_LATE_LEVELS - 1)];
    }
}

/* Moves what the sections are towards their targets. */
static void glide(nv_latefield *l) {
    nv_late_lines *lines = &l->lines;
    lines->middle += lines->middle_step * (float)l->step;
    lines->side += lines->side_step * (float)l->step;
    lines->middle_step = lines->side_step = 0;
    if (l->next_in >= 0 && l->next_in != LATER_ON && (l->next_in -= l->step) <= 0 && !l->hold)
        fall_as(l, &l->next);
    if (l->fall_left) {
        float share = l->fall_left > l->step ? (float)l->step / (float)l->fall_left : 1;
        const float(*to)[3][NV_LATE_LINES] = l->hold ? l->lossless : l->room.fall;
        l->fall_left = l->fall_left > l->step ? l->fall_left - l->step : 0;
        l->simd->late_glide_falls(lines, to, share);
        if (!l->fall_left) { /* exactly */
            memcpy(lines->fall, to, sizeof lines->fall);
            if (l->hold) memset(lines->fall_state, 0, sizeof lines->fall_state);
        }
        lines->middle_step = share * (l->room.out[0] - lines->middle) / (float)l->step;
        lines->side_step = share * (l->room.out[1] - lines->side) / (float)l->step;
    }
    if (l->level_left && (l->level_known || !l->seam)) {
        float share = l->level_left > l->step ? (float)l->step / (float)l->level_left : 1;
        l->level_left = l->level_left > l->step ? l->level_left - l->step : 0;
        glide_level(lines, l->level_to, share);
    }
}

static float towards(float now, float wanted, float most) {
    return fminf(fmaxf(wanted, now - most), now + most);
}

/* out = x, whose gain goes from one value to another. */
static void scale(float *out, const float *x, int frames, float from, float to) {
    float step = (to - from) / (float)frames;
    for (int i = 0; i < frames; i++) out[i] = x[i] * (from + (float)(i + 1) * step);
}

/* What rings goes into the lines, at the level at which it rang when the hold began. Returns the
 * gain of the convolved sound at the end of the step. */
static float catch_sound(nv_latefield *l, float *const *wet) {
    int edge = ramp_frames(l), freezes = l->hold && !l->layer;
    int catching = l->hold && (l->layer || l->caught_frames + edge < l->catch_frames);
    float gain = 0;
    if (catching) {
        double power = 0;
        for (int i = 0; i < l->step; i++)
            power += (double)wet[0][i] * wet[0][i] + (double)wet[1][i] * wet[1][i];
        power /= l->step;
        double slow = exp(-l->step / (0.03 * l->rate_hz));
        l->power = l->caught_frames ? power + slow * (l->power - power) : power;
        if (l->caught_frames < l->rate_hz / 20) l->first_power = fmax(l->first_power, l->power);
        gain = 1;
        if (l->caught_frames < l->catch_frames)
            gain = (float)sqrt(l->first_power / fmax(l->power, 1e-20));
        gain = fminf(fmaxf(gain, CATCH_LEAST), CATCH_MOST);
    }
    if (l->hold && l->caught_frames < l->catch_frames) l->caught_frames += l->step;
    double frames = 0; /* of all lines: what is in them is heard once in as many frames */
    for (int i = 0; i < NV_LATE_LINES; i++) frames += l->delay[i];
    float whole = GAIN * (float)sqrt(frames / (32.0 * l->catch_frames));
    float to = towards(l->catch_gain, gain * whole, whole * (float)l->step / (float)edge);
    int caught = l->catch_gain > 0 || to > 0;
    for (int c = 0; c < 2; c++) {
        if (caught) scale(l->caught[c], wet[c], l->step, l->catch_gain, to);
        l->lines.caught[c] = caught ? l->caught[c] : NULL;
    }
    l->catch_gain = to;
    float left = (float)(l->catch_frames - l->caught_frames) / (float)l->catch_frames;
    return freezes ? sqrtf(fmaxf(0, left)) : 1;
}

/* The convolved sound's gain moves towards `wanted` within a ramp at most. */
static void pass_through(nv_latefield *l, float *const *wet, float wanted) {
    float to = towards(l->through, wanted, (float)l->step / (float)ramp_frames(l));
    if (l->through != 1 || to != 1)
        for (int c = 0; c < 2; c++) scale(wet[c], wet[c], l->step, l->through, to);
    l->through = to;
}

static void fall_asleep(nv_latefield *l, int wrong) {
    l->quiet_frames += l->step;
    if (l->at == 0) { /* looked at once in a while: each look costs */
        double peak = 0;
        for (int c = 0; c < 2; c++)
            for (int i = 0; i < l->step; i++) peak = fmax(peak, fabsf(l->sound[c][i]));
        if (peak > SILENT) l->quiet_frames = 0;
    }
    int open = l->goes_on || l->hold || l->level_left;
    l->heard_since = open ? 0 : l->heard_since + l->step;
    int rest = l->heard_since > l->past_frames + l->ring_frames &&
               l->quiet_frames > HEARD_FRAMES * l->ring_frames / 8 && l->through == 1 &&
               !nv_shimmer_acts(&l->shimmer);
    if (rest) {
        l->awake = 0;
        if (l->next_in >= 0) l->room = l->next, l->next_in = -1;
    }
    if (wrong) { /* damaged values: begin again, from silence */
        l->awake = 0;
        wake(l);
    }
}

/* The last frame by itself, where a glide needs to know what went into each section. */
static void level_input(nv_latefield *l, const float *const *in, float *const *out) {
    nv_late_lines *lines = &l->lines;
    int glides = l->level_known = l->level_left > 0, first = l->step - glides;
    lines->frames = first;
    l->simd->late_level(lines, in, out);
    if (glides) {
        const float *last_in[2] = {in[0] + first, in[1] + first};
        float *last_out[2] = {out[0] + first, out[1] + first};
        memcpy(lines->level_last, lines->level_passed, sizeof lines->level_last);
        for (int c = 0; c < 2; c++) lines->level_last[c][0] = *last_in[c];
        lines->frames = 1;
        l->simd->late_level(lines, last_in, last_out);
    }
    lines->frames = l->step;
}

/* The input: at the level of the seam, with many echoes for each, into the delay. */
static void take_input(nv_latefield *l, const float *const *in) {
    float *out[2] = {l->past[0] + l->past_at, l->past[1] + l->past_at};
    level_input(l, in, out);
    int frames = l->pass_ring_frames, at = l->at & (frames - 1);
    for (int c = 0; c < 2; c++)
        for (int i = 0; i < NV_LATE_PASSES; i++) {
            float *ring = l->pass[c][i], *partial = l->partial[2 * NV_LATE_LINES];
            const float *from =
                read_ring(l, ring, frames, at, l->pass_delay[c][i], l->past_since, partial);
            l->simd->late_diffuse(out[c], from, ring + at, l->step);
            if (at < GUARD) write_guard(ring, frames, at, l->step);
        }
    for (int c = 0; c < 2 && l->past_at < GUARD; c++)
        write_guard(l->past[c], l->past_frames, l->past_at, l->step);
}

static void make_step(nv_latefield *l, const float *const *in, float *const *wet) {
    nv_late_lines *lines = &l->lines;
    glide(l);
    float wanted = catch_sound(l, wet);
    lines->frames = l->step;
    /* Frozen, what has not come in yet stays out: it was caught as it was heard. */
    float opened = l->open, open = l->hold && !l->layer ? 0 : GAIN;
    l->open = towards(opened, open, GAIN * (float)l->step / (float)ramp_frames(l));
    lines->tap_gain = l->open == opened ? opened : 1;
    int filled = l->seam && l->heard_since <= l->past_frames, moves = nv_swing_acts(&l->swing);
    if (filled) take_input(l, in);
    if (moves) nv_swing_step(&l->swing, l->step);
    for (int i = 0; i < NV_LATE_LINES; i++) {
        lines->from[i] = moves ? read_moved(l, i)
                               : read_ring(l, l->ring[i], l->ring_frames, l->at, l->delay[i],
                                           l->since, l->partial[i]);
        lines->to[i] = l->ring[i] + l->at;
        lines->tap[i] =
            filled ? read_ring(l, l->past[i / HALF], l->past_frames, l->past_at, l->tap_delay[i],
                               l->past_since, l->partial[NV_LATE_LINES + i])
                   : l->silence;
        if (l->open != opened) {
            float *partial = l->partial[NV_LATE_LINES + i];
            scale(partial, lines->tap[i], l->step, opened, l->open);
            lines->tap[i] = partial;
        }
    }
    if (nv_shimmer_acts(&l->shimmer)) {
        const float *line[2] = {lines->from[RISING[0]], lines->from[RISING[1]]};
        float *out[2] = {l->risen[0], l->risen[1]};
        nv_shimmer_step(&l->shimmer, line, out, (const float *const *)wet, l->rising_gain, l->step);
        for (int c = 0; c < 2; c++) lines->from[RISING[c]] = l->risen[c];
    }
    pass_through(l, wet, wanted);
    memset(l->sound, 0, sizeof l->sound);
    for (int c = 0; c < 2; c++) lines->out[c] = l->sound[c];
    int wrong = l->simd->late_lines(lines);
    for (int i = 0; i < NV_LATE_LINES && l->at < GUARD; i++)
        write_guard(l->ring[i], l->ring_frames, l->at, l->step);
    if (wrong) memset(l->sound, 0, sizeof l->sound);
    if (l->mute_step) {
        float to = fmaxf(0, l->mute + l->mute_step * (float)l->step);
        for (int c = 0; c < 2; c++) scale(l->sound[c], l->sound[c], l->step, l->mute, to);
        l->mute = to;
    }
    for (int c = 0; c < 2; c++) l->simd->add(wet[c], l->sound[c], l->step);
    fall_asleep(l, wrong);
    l->at = (l->at + l->step) & (l->ring_frames - 1);
    l->past_at = l->past_at + l->step == l->past_frames ? 0 : l->past_at + l->step;
    l->since += l->step;
    l->past_since = filled ? l->past_since + l->step : 0;
    if (l->mute == 0) { /* cut: begin again */
        l->awake = 0;
        wake(l);
        l->level_left = ramp_frames(l);
    }
}

void nv_latefield_process(nv_latefield *l, const float *const *gained, int inputs,
                          float *const *wet) {
    for (int done = 0; l->awake && done < l->block; done += l->step) {
        const float *in[2] = {gained[0] + done, gained[inputs - 1] + done};
        float *out[2] = {wet[0] + done, wet[1] + done};
        make_step(l, in, out);
    }
}
