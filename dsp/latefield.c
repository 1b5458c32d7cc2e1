#include "latefield.h"

#include <math.h>
#include <string.h>

#include "latefield_state.h"

enum { RAMP_MS = 20, HEARD_FRAMES = 30 };
static const int64_t LATER_ON = INT64_MAX; /* at the end of `hold` */
static const float SILENT = 1e-14f; /* of power: -140 dB */
static const float CATCH_MOST = 64, CATCH_LEAST = 0.25f;
static const int RISING[2] = {4, 12}; /* the lines that shimmer, one for each side */
static const int MOVING[NV_LATE_MOVED] = {1, 10, 7, 14}; /* whose lengths swing */

int nv_latefield_sounds(const nv_latefield *l) { return l->awake; }

/* ---- changes --------------------------------------------------------------------------------- */

static int ramp_frames(const nv_latefield *l) { return l->rate_hz * RAMP_MS / 1000; }

static void wake(nv_latefield *l) {
    if (l->awake) return;
    l->awake = 1, l->since = l->past_since = l->quiet_frames = 0;
    memset(l->lines.fall_state, 0, sizeof l->lines.fall_state);
    memset(l->lines.level_state, 0, sizeof l->lines.level_state);
    memset(l->lines.level, 0, sizeof l->lines.level);
    memcpy(l->lines.fall, l->hold ? l->lossless : l->room.fall, sizeof l->lines.fall);
    memcpy(l->lines.sum, l->room.sum, sizeof l->lines.sum);
    l->lines.fall_glides = l->lines.level_glides = 0;
    l->fall_left = 0, l->mute = 1, l->mute_step = 0;
    if (nv_shimmer_acts(&l->shimmer)) nv_shimmer_clear(&l->shimmer);
}

/* What never falls is not moved: a read between two frames takes a little of the treble. */
static void swing(nv_latefield *l) {
    int stays = l->hold || !memcmp(l->room.fall, l->lossless, sizeof l->lossless);
    nv_swing_set(&l->swing, stays ? 0 : l->moved_by, l->moved_hz);
}

static void fall_as(nv_latefield *l, const nv_late_coefficients *room) {
    l->room = *room, l->next_in = -1;
    l->rising_gain = nv_late_rising_gain(&l->lines, room->fall, l->delay, l->rate_hz);
    l->fall_left = ramp_frames(l);
    swing(l);
}

void nv_latefield_room(nv_latefield *l, const nv_late_room *room, int fade_frames, nv_tails tails) {
    const nv_late_lines *lines = &l->lines;
    int usable = nv_late_fits(&l->check, room);
    l->goes_on = usable && l->seam && room->goes_on >= 0.5f;
    if (usable) {
        nv_late_coefficients *next = &l->next;
        memcpy(next->fall, room->fall, sizeof next->fall);
        next->sum[0] = room->middle, next->sum[1] = room->side;
        for (int k = 0; k <= NV_LATE_FALLS; k++)
            for (int i = 0; i < NV_LATE_LINES; i++)
                next->fall[k][i] *= 0.25f * (k ? 1 - lines->fall_pole[k - 1][i] : 1);
        if (!l->awake || tails != NV_TAILS_KEEP || nv_shimmer_acts(&l->shimmer))
            fall_as(l, next);
        else if (l->goes_on && (l->next_in < 0 || l->next_in == LATER_ON))
            l->next_in = l->seam;
        else if (!l->goes_on && l->next_in < 0)
            l->next_in = LATER_ON;
    }
    if (l->goes_on) wake(l);
    memset(l->level_to, 0, sizeof l->level_to);
    for (int k = 0; l->goes_on && k < NV_LATE_LEVELS; k++)
        l->level_to[k] = room->level[k + 1] * (1 - lines->level_pole[k]);
    if (l->goes_on) l->level_to[NV_LATE_LEVELS] = room->level[0];
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
    rise(l), swing(l);
}

void nv_latefield_move(nv_latefield *l, double amount, double hz) {
    l->moved_by = amount, l->moved_hz = hz;
    swing(l);
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* `frames` frames, the first of which is `delay` old. Those from before it woke are 0. */
static const float *awaken(const nv_latefield *l, const float *from, int delay, int64_t since,
                           float *partial, int frames) {
    if (since >= delay) return from;
    if (since + frames <= delay) return l->silence;
    int old = delay - (int)since;
    memset(partial, 0, (size_t)old * sizeof(float));
    memcpy(partial + old, from + old, (size_t)(frames - old) * sizeof(float));
    return partial;
}

/* What leaves the line of this voice while its length changes. The lines lose nothing by that: what
 * they give more slowly, they give as much louder. */
static const float *read_moved(nv_latefield *l, int voice) {
    int i = MOVING[voice];
    float slope = l->swing.slope[voice], partial[2 * NV_LATE_STEP];
    nv_reach reach = nv_swing_reach(l->delay[i] + (double)l->swing.from[voice], slope, l->step);
    const float *window = l->ring[i] + ((l->at - reach.oldest) & (l->ring_frames - 1));
    int frames = l->step + reach.oldest - reach.newest;
    window = awaken(l, window, reach.oldest, l->since, partial, frames);
    l->simd->delayed(l->moved[voice], window + reach.oldest - reach.newest, reach.delay, slope,
                     sqrtf(1 - slope), l->step);
    return l->moved[voice];
}

static void write_guard(float *ring, int ring_frames, int at, int frames) {
    memcpy(ring + ring_frames + at, ring + at, (size_t)frames * sizeof(float));
}

/* The next step of a glide to `to`, which *left more frames last: what is at its begin, and the
 * step of a frame. Returns whether it glides. */
static int along(float *now, float *step, const float *to, int count, int *left, int frames,
                 int glided) {
    if (glided && !*left) memcpy(now, to, (size_t)count * sizeof(float)); /* exactly */
    if (!*left) return 0;
    float rest = (float)(*left > frames ? *left : frames), passed = glided ? (float)frames : 0;
    for (int i = 0; i < count; i++) {
        now[i] += passed * step[i];
        step[i] = (to[i] - now[i]) / rest;
    }
    *left = *left > frames ? *left - frames : 0;
    return 1;
}

/* Moves what the filters are towards their targets. */
static void glide(nv_latefield *l) {
    nv_late_lines *lines = &l->lines;
    if (l->next_in >= 0 && l->next_in != LATER_ON && (l->next_in -= l->step) <= 0 && !l->hold)
        fall_as(l, &l->next);
    if (l->fall_left || lines->fall_glides) {
        const float(*to)[NV_LATE_LINES] = l->hold ? l->lossless : l->room.fall;
        int left = l->fall_left, count = sizeof lines->fall / sizeof(float);
        along(lines->sum, lines->sum_step, l->room.sum, 2, &left, l->step, lines->fall_glides);
        lines->fall_glides = along(lines->fall[0], lines->fall_step[0], to[0], count,
                                   &l->fall_left, l->step, lines->fall_glides);
    }
    if (l->level_left || lines->level_glides)
        lines->level_glides =
            along(lines->level, lines->level_step, l->level_to, NV_LATE_LEVELS + 1,
                  &l->level_left, l->step, lines->level_glides);
}

static float towards(float now, float wanted, float most) {
    return wanted < now - most ? now - most : wanted > now + most ? now + most : wanted;
}

/* out = x, whose gain goes from one value to another. */
static void scale(float *out, const float *x, int frames, float from, float to) {
    float step = (to - from) / (float)frames;
    for (int i = 0; i < frames; i++) out[i] = x[i] * (from + (float)(i + 1) * step);
}

/* What rings goes into the lines, at the level at which it rang when the hold began. Returns the
 * gain of the convolved sound at the end of the step. */
static float catch_sound(nv_latefield *l, float *const *wet) {
    l->lines.caught[0] = NULL;
    if (!l->hold && l->catch_gain == 0) return 1;
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
    float whole = l->catch_whole;
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
    if (l->through == 1 && wanted == 1) return;
    float to = towards(l->through, wanted, (float)l->step / (float)ramp_frames(l));
    for (int c = 0; c < 2; c++) scale(wet[c], wet[c], l->step, l->through, to);
    l->through = to;
}

static void fall_asleep(nv_latefield *l, int wrong) {
    l->quiet_frames += l->step;
    if (l->at == 0) { /* looked at once in a while: each look costs */
        float energy = 0;
        for (int c = 0; c < 2; c++) energy += l->simd->energy(l->sound[c], l->step);
        if (energy > SILENT * l->step) l->quiet_frames = 0;
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

/* The input: at the level of the seam, with many echoes for each, into the delay. */
static void take_input(nv_latefield *l, const float *const *in) {
    float *out[2] = {l->past[0] + l->past_at, l->past[1] + l->past_at};
    l->simd->late_level(&l->lines, in, out);
    int frames = l->pass_ring_frames, at = l->at & (frames - 1);
    for (int c = 0; c < 2; c++) {
        const float *from[NV_LATE_PASSES];
        float *to[NV_LATE_PASSES];
        for (int i = 0; i < NV_LATE_PASSES; i++) {
            float *ring = l->pass[c][i];
            from[i] = ring + ((at - l->pass_delay[c][i]) & (frames - 1)), to[i] = ring + at;
        }
        for (int i = 0; i < NV_LATE_PASSES && l->past_since < frames; i++)
            from[i] =
                awaken(l, from[i], l->pass_delay[c][i], l->past_since, l->partial[i], l->step);
        l->simd->late_diffuse(out[c], from, to, l->step);
        for (int i = 0; i < NV_LATE_PASSES && at < NV_LATE_GUARD; i++)
            write_guard(l->pass[c][i], frames, at, l->step);
    }
    for (int c = 0; c < 2 && l->past_at < NV_LATE_GUARD; c++)
        write_guard(l->past[c], l->past_frames, l->past_at, l->step);
}

/* What leaves the lines, what comes in, and where what enters the lines goes. */
static void point(nv_latefield *l, int filled, int moves) {
    const float **from = l->lines.from, **tap = l->lines.tap;
    int at = l->at, mask = l->ring_frames - 1, past_frames = l->past_frames,
        at_past = l->past_at;
    for (int i = 0; i < NV_LATE_LINES; i++) {
        float *ring = l->ring[i];
        l->lines.to[i] = ring + at, from[i] = ring + ((at - l->delay[i]) & mask);
    }
    int wraps = at_past < l->tap_least ? past_frames : 0; /* all of them, or some */
    for (int c = 0, from_past = at_past + wraps; c < 2 && filled; c++) {
        const float *past = l->past[c], **side = tap + c * NV_LATE_HALF;
        const int *tap_delay = l->tap_delay + c * NV_LATE_HALF;
        for (int i = 0; i < NV_LATE_HALF; i++) side[i] = past + (from_past - tap_delay[i]);
    }
    for (int i = 0; i < NV_LATE_LINES && filled && !wraps; i++)
        if (l->tap_delay[i] > at_past) tap[i] += past_frames;
    for (int i = 0; i < NV_LATE_LINES && l->since < l->ring_frames; i++)
        from[i] = awaken(l, from[i], l->delay[i], l->since, l->partial[i], l->step);
    for (int i = 0; i < NV_LATE_MOVED && moves; i++) from[MOVING[i]] = read_moved(l, i);
    for (int i = 0; i < NV_LATE_LINES && l->past_since < past_frames; i++)
        tap[i] = filled ? awaken(l, tap[i], l->tap_delay[i], l->past_since,
                                 l->partial[NV_LATE_LINES + i], l->step)
                        : l->silence;
}

/* Their gain goes from one value to another. */
static void open_taps(nv_latefield *l, float opened) {
    for (int i = 0; i < NV_LATE_LINES; i++) {
        float *partial = l->partial[NV_LATE_LINES + i], now = l->open;
        if (now != opened) scale(partial, l->lines.tap[i], l->step, opened, now);
        if (now != opened) l->lines.tap[i] = partial;
        l->lines.tap_gain[i] = l->lines.sign[i] * (now != opened ? 1 : now);
    }
}

static void make_step(nv_latefield *l, const float *const *in, float *const *wet) {
    nv_late_lines *lines = &l->lines;
    glide(l);
    float wanted = catch_sound(l, wet);
    lines->frames = l->step;
    /* Frozen, what has not come in yet stays out: it was caught as it was heard. */
    float opened = l->open, open = l->hold && !l->layer ? 0 : NV_LATE_GAIN;
    l->open = towards(opened, open, NV_LATE_GAIN * (float)l->step / (float)ramp_frames(l));
    int filled = l->seam && l->heard_since <= l->past_frames, moves = nv_swing_acts(&l->swing);
    if (filled) take_input(l, in);
    if (moves) nv_swing_step(&l->swing, l->step);
    point(l, filled, moves);
    if (l->open != opened || lines->tap_gain[0] != lines->sign[0] * l->open) open_taps(l, opened);
    if (nv_shimmer_acts(&l->shimmer)) {
        const float *line[2] = {lines->from[RISING[0]], lines->from[RISING[1]]};
        float *out[2] = {l->risen[0], l->risen[1]};
        nv_shimmer_step(&l->shimmer, line, out, (const float *const *)wet, l->rising_gain, l->step);
        for (int c = 0; c < 2; c++) lines->from[RISING[c]] = l->risen[c];
    }
    pass_through(l, wet, wanted);
    for (int c = 0; c < 2; c++) lines->add[c] = l->mute_step ? NULL : wet[c];
    int wrong = l->simd->late_lines(lines);
    for (int i = 0; i < NV_LATE_LINES && l->at < NV_LATE_GUARD; i++)
        write_guard(l->ring[i], l->ring_frames, l->at, l->step);
    if (wrong) memset(l->sound, 0, sizeof l->sound);
    if (l->mute_step) {
        float to = fmaxf(0, l->mute + l->mute_step * (float)l->step);
        for (int c = 0; c < 2; c++) {
            scale(l->sound[c], l->sound[c], l->step, l->mute, to);
            l->simd->add(wet[c], l->sound[c], l->step);
        }
        l->mute = to;
    }
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
