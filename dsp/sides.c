#include "sides.h"

#include <math.h>
#include <string.h>

/* Faster than notes decay, slower than a low string. */
static const double LEVEL_FALL_DB_PER_MS = 1;
static const double SETTLED = 1e-6; /* -120 dB: a weight this near its target is there */
/* A step through two equal low-passes is within 0.1 dB after this many time constants. */
static const double RAMP_TIME_CONSTANTS = 6.7;

static float amplitude(double db) { return (float)pow(10, db / 20); }

/* 1 if the weight is still changing. */
static int weight_to(nv_weight *w, double target) {
    w->target = target;
    return w->value != target || w->slope != 0;
}

static double weight_next(nv_weight *w) {
    double distance = w->target - w->value;
    w->slope += w->rate * (w->rate * distance - 2 * w->slope);
    w->value += w->slope;
    if (fabs(distance) < SETTLED && fabs(w->slope) < SETTLED * w->rate)
        w->value = w->target, w->slope = 0;
    return w->value;
}

void nv_sides_init(nv_sides *s, double rate_hz) {
    double rate = RAMP_TIME_CONSTANTS / (NV_SIDES_RAMP_MS * rate_hz / 1000);
    *s = (nv_sides){.rate_hz = rate_hz, .mono.rate = rate};
    s->silent = amplitude(NV_SIDES_SILENT_DB), s->noisiest = amplitude(NV_SIDES_NOISE_DB);
    s->margin = amplitude(NV_SIDES_NOISE_MARGIN_DB);
    s->crosstalk = amplitude(-NV_SIDES_CROSSTALK_DB);
    s->level_fall = amplitude(-LEVEL_FALL_DB_PER_MS * 1000 / rate_hz);
    s->noise_rise = amplitude(NV_SIDES_RISE_DB * NV_SIDES_WINDOW_MS / 1000.0);
    for (int c = 0; c < NV_OUTPUTS; c++) s->side[c].other.rate = rate;
    nv_sides_learn(s);
}

void nv_sides_learn(nv_sides *s) {
    s->learn_frames = (int64_t)(NV_SIDES_LEARN_MS * s->rate_hz / 1000);
    for (int c = 0; c < NV_OUTPUTS; c++) {
        s->side[c].noise = s->noisiest;
        s->side[c].window = 0;
        s->side[c].heard = 0;
    }
    s->differ = 0;
}

static void measure(nv_sides *s, float *const *x, int frames) {
    float fall = powf(s->level_fall, (float)frames);
    s->window_left -= frames;
    if (s->learn_frames > 0) s->learn_frames -= frames;
    for (int c = 0; c < NV_OUTPUTS; c++) {
        nv_side *side = &s->side[c];
        float peak = 0;
        for (int i = 0; i < frames; i++) peak = fmaxf(peak, fabsf(x[c][i]));
        side->peak = peak;
        side->level = fmaxf(peak, side->level * fall);
        side->window = fmaxf(side->window, peak);
        /* While learning, 0 is no noise: JACK takes some blocks to connect a port. */
        if (s->window_left <= 0 && (side->window > 0 || s->learn_frames <= 0)) {
            float risen = fminf(side->noise * s->noise_rise, s->noisiest);
            /* Not 0, from which it could not rise. */
            side->noise = fmaxf(fminf(side->window, risen), 1e-6f);
            side->window = 0;
        }
    }
    if (s->window_left <= 0) s->window_left = (int)(NV_SIDES_WINDOW_MS * s->rate_hz / 1000);
}

static int speaks(const nv_sides *s, const nv_side *side, const nv_side *other) {
    return side->peak > s->silent && side->peak > s->margin * side->noise &&
           side->peak > s->crosstalk * other->level;
}

static void listen(nv_sides *s, float *const *x, int frames) {
    nv_side *one = &s->side[0], *two = &s->side[1];
    int first = speaks(s, one, two), second = speaks(s, two, one);
    s->silent_frames = first || second ? 0 : s->silent_frames + frames;
    if (s->silent_frames > (int64_t)(NV_SIDES_FORGET_S * s->rate_hz))
        one->heard = two->heard = s->differ = 0;
    one->heard |= first, two->heard |= second;
    if (!s->differ && (first || second))
        s->differ = memcmp(x[0], x[1], (size_t)frames * sizeof(float)) != 0;
}

/* Whether the inputs are two sources, each on its own side. */
static int two_sources(const nv_sides *s, int automatic) {
    int heard = s->side[0].heard + s->side[1].heard;
    if (heard && !s->differ) return 0;
    if (!heard) return s->two_sources;
    return heard == 2 || !automatic;
}

/* The input that feeds each side from this block on. */
static int choose(nv_sides *s, int frames) {
    const nv_side *one = &s->side[0], *two = &s->side[1];
    if (one->heard == two->heard) {
        s->alone_frames = 0;
        return one->heard ? NV_FEED_OWN : s->feed;
    }
    int wanted = one->heard ? NV_FEED_FIRST : NV_FEED_SECOND;
    if (s->feed == wanted) return wanted;
    int held = s->alone_frames >= (int64_t)(NV_SIDES_HOLD_MS * s->rate_hz / 1000);
    s->alone_frames += frames;
    return held && s->learn_frames <= 0 ? wanted : NV_FEED_OWN;
}

int nv_sides_in(nv_sides *s, float *const *x, int frames, int automatic) {
    measure(s, x, frames);
    listen(s, x, frames);
    s->feed = automatic ? choose(s, frames) : NV_FEED_OWN;
    s->two_sources = two_sources(s, automatic);
    nv_weight *to_first = &s->side[0].other, *to_second = &s->side[1].other;
    int changing = weight_to(to_first, s->feed == NV_FEED_SECOND);
    changing |= weight_to(to_second, s->feed == NV_FEED_FIRST);
    if (!changing && s->feed == NV_FEED_OWN) return s->feed;
    for (int i = 0; i < frames; i++) {
        float difference = x[1][i] - x[0][i];
        x[0][i] += (float)weight_next(to_first) * difference;
        x[1][i] -= (float)weight_next(to_second) * difference;
    }
    return s->feed;
}

void nv_sides_out(nv_sides *s, float *const *x, int frames, int mono) {
    if (!weight_to(&s->mono, mono) && !mono) return;
    for (int i = 0; i < frames; i++) {
        float half = 0.5f * (float)weight_next(&s->mono) * (x[1][i] - x[0][i]);
        x[0][i] += half, x[1][i] -= half;
    }
}
