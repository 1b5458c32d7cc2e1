#include "tone.h"

#include <math.h>
#include <string.h>

static biquad design(const nv_shelf *s, double gain_db) {
    double corner_hz = s->high ? NV_TONE_HIGH_HZ : NV_TONE_LOW_HZ;
    double limit = 0.49 * s->rate_hz, a = pow(10, gain_db / 40);
    double w = 2 * M_PI * (corner_hz < limit ? corner_hz : limit) / s->rate_hz;
    double sign = s->high ? -1 : 1; /* a high shelf is a low one with the spectrum mirrored */
    double c = sign * cos(w), bend = sqrt(2 * a) * sin(w);
    double up = a + 1, down = a - 1, a0 = up + down * c + bend;
    return (biquad){
        .b0 = a * (up - down * c + bend) / a0,
        .b1 = sign * 2 * a * (down - up * c) / a0,
        .b2 = a * (up - down * c - bend) / a0,
        .a1 = sign * -2 * (down + up * c) / a0,
        .a2 = (up + down * c - bend) / a0,
    };
}

static void set(nv_shelf *s, double gain_db, int ramp_frames) {
    if (ramp_frames) {
        ramp_to(&s->gain_db, gain_db, ramp_frames);
    } else {
        ramp_jump(&s->gain_db, gain_db);
        s->now = design(s, gain_db);
    }
    if (s->gain_db.left || gain_db != 0)
        s->rest_frames = (int)(NV_TONE_REST_MS * s->rate_hz / 1000);
}

static void run(nv_shelf *s, float *const *x, int frames) {
    enum { STRETCH = 32 }; /* frames between two designs in a ramp, as of the other filters */
    int moving = s->gain_db.left > 0;
    if (!moving && s->gain_db.value == 0 && (s->rest_frames -= frames) <= 0) {
        s->rest_frames = 0;
        memset(s->state, 0, sizeof s->state);
        return;
    }
    for (int start = 0; start < frames;) {
        moving = s->gain_db.left > 0;
        int n = moving && frames - start > STRETCH ? STRETCH : frames - start;
        ramp all = {.value = 1, .target = 1};
        biquad to = moving ? design(s, ramp_skip(&s->gain_db, n)) : s->now;
        nv_biquad_run(&s->now, to, s->state, &all, x, start, n);
        start += n;
    }
}

void nv_tone_init(nv_tone *t, double rate_hz) {
    *t = (nv_tone){.low = {.high = 0, .rate_hz = rate_hz}, .high = {.high = 1, .rate_hz = rate_hz}};
    nv_tone_set(t, 0, 0, 0);
}

void nv_tone_set(nv_tone *t, double low_db, double high_db, int ramp_frames) {
    set(&t->low, low_db, ramp_frames);
    set(&t->high, high_db, ramp_frames);
}

void nv_tone_run(nv_tone *t, float *const *x, int frames) {
    run(&t->low, x, frames);
    run(&t->high, x, frames);
}
