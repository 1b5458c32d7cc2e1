#include "engine_filters.h"

#include <math.h>
#include <string.h>

/* ---- low-pass and high-pass ------------------------------------------------------------------ */

/* Second-order Butterworth sections after R. Bristow-Johnson's audio EQ cookbook, Q = 1/sqrt(2).
 * Direct form I in double: at 20 Hz and 48 kHz the poles are so near 1 that float32 would cost 70
 * dB of accuracy, and the state of direct form I does not depend on the coefficients, so they may
 * move. Within a block they move linearly; the stable (a1, a2) form a convex set (the stability
 * triangle), so all filters in between are stable. */

biquad nv_filter_design(int highpass, double cutoff_hz, double rate_hz) {
    double limit = 0.49 * rate_hz, w = 2 * M_PI * (cutoff_hz < limit ? cutoff_hz : limit) / rate_hz;
    double c = cos(w), alpha = sin(w) * M_SQRT1_2, a0 = 1 + alpha;
    double edge = highpass ? (1 + c) / 2 : (1 - c) / 2, middle = highpass ? -(1 + c) : 1 - c;
    return (biquad){edge / a0, middle / a0, edge / a0, -2 * c / a0, (1 - alpha) / a0};
}

void nv_biquad_run(biquad *now, biquad to, biquad_state *state, ramp *amount, float *const *x,
                   int start, int frames) {
    biquad from = *now;
    double n = 1.0 / frames;
    biquad d = {(to.b0 - from.b0) * n, (to.b1 - from.b1) * n, (to.b2 - from.b2) * n,
                (to.a1 - from.a1) * n, (to.a2 - from.a2) * n};
    ramp amount_after = *amount;
    for (int c = 0; c < NV_OUTPUTS; c++) {
        biquad q = from;
        double x1 = state[c].x1, x2 = state[c].x2, y1 = state[c].y1, y2 = state[c].y2;
        amount_after = *amount;
        for (int i = start; i < start + frames; i++) {
            q.b0 += d.b0, q.b1 += d.b1, q.b2 += d.b2, q.a1 += d.a1, q.a2 += d.a2;
            double in = x[c][i], y = q.b0 * in + q.b1 * x1 + q.b2 * x2 - q.a1 * y1 - q.a2 * y2;
            x2 = x1, x1 = in, y2 = y1, y1 = y;
            x[c][i] = (float)(in + ramp_next(&amount_after) * (y - in));
        }
        if (fabs(y1) < 1e-30) y1 = y2 = 0; /* no denormals where the processor cannot flush them */
        state[c] = (biquad_state){x1, x2, y1, y2};
    }
    *amount = amount_after;
    *now = to;
}

void nv_filter_run(filter *f, float *const *x, int frames) {
    /* Frames between two designs while the cutoff moves: few for the ramp, many for a cosine. */
    enum { STRETCH = 32 };
    if (f->amount.left == 0 && f->amount.value == 0) {
        if (f->log2_hz.left)
            ramp_jump(&f->log2_hz, f->log2_hz.target),
                f->now = nv_filter_design(f->highpass, exp2(f->log2_hz.value), f->rate_hz);
        memset(f->state, 0, sizeof f->state);
        return;
    }
    for (int start = 0; start < frames;) {
        int moving = f->log2_hz.left > 0,
            n = moving && frames - start > STRETCH ? STRETCH : frames - start;
        biquad to = f->now;
        if (moving)
            to = nv_filter_design(f->highpass, exp2(ramp_skip(&f->log2_hz, n)), f->rate_hz);
        nv_biquad_run(&f->now, to, f->state, &f->amount, x, start, n);
        start += n;
    }
}

/* ---- pre-delay ------------------------------------------------------------------------------- */

/* Third-order Lagrange interpolation (Laakso et al. 1996, "Splitting the unit delay", eq. 42);
 * below one frame there is no future sample to read, so it is linear there. Delays of whole frames
 * are exact. */
delay_tap nv_delay_tap_at(double frames) {
    delay_tap t = {.frames = frames};
    if (fabs(frames - nearbyint(frames)) < 1e-3) frames = nearbyint(frames);
    t.whole = (int)floor(frames);
    double f = frames - t.whole;
    if (f == 0) {
        t.tap[1] = 1;
    } else if (t.whole < 1) {
        t.tap[1] = (float)(1 - f), t.tap[2] = (float)f;
    } else {
        t.tap[0] = (float)(-f * (f - 1) * (f - 2) / 6);
        t.tap[1] = (float)((f + 1) * (f - 1) * (f - 2) / 2);
        t.tap[2] = (float)(-(f + 1) * f * (f - 2) / 2);
        t.tap[3] = (float)((f + 1) * f * (f - 1) / 6);
    }
    return t;
}

static float tap_read(const float *line, int mask, int at, const delay_tap *t) {
    int i = at - t->whole;
    if (t->tap[1] == 1) return line[i & mask];
    return t->tap[0] * line[(i + 1) & mask] + t->tap[1] * line[i & mask] +
           t->tap[2] * line[(i - 1) & mask] + t->tap[3] * line[(i - 2) & mask];
}

void nv_predelay_run(predelay *p, float *const *x, int frames, double wanted_frames) {
    int fading = p->faded < p->fade_frames;
    if (!fading && wanted_frames != p->now.frames) {
        p->next = nv_delay_tap_at(wanted_frames);
        p->faded = 0, fading = 1;
    }
    for (int c = 0; c < NV_OUTPUTS; c++) {
        float *line = p->line[c];
        for (int i = 0; i < frames; i++) {
            int at = p->write + i;
            line[at & p->mask] = x[c][i];
            float y = tap_read(line, p->mask, at, &p->now);
            if (fading) {
                int k = p->faded + i + 1;
                float g = k >= p->fade_frames
                              ? 1.0f
                              : 0.5f - 0.5f * cosf((float)M_PI * k / p->fade_frames);
                y += g * (tap_read(line, p->mask, at, &p->next) - y);
            }
            x[c][i] = y;
        }
    }
    p->write = (p->write + frames) & p->mask;
    if (fading && (p->faded += frames) >= p->fade_frames) p->now = p->next;
}

/* ---- DC offset ------------------------------------------------------------------------------- */

/* A DC voltage from a broken input stage or converter is inaudible and heats loudspeakers. A
 * permanent high-pass would remove it, but then the output would not be exactly the convolution. So
 * this acts only on an offset, and not at all if the limiter is off, which selects the exact
 * output:
 *
 *   mean over about OFFSET_MEAN_S
 *       above OFFSET_LIMIT (-20 dBFS) for OFFSET_HOLD_S    subtract it, fade-in OFFSET_FADE_S
 *       below a quarter of it for OFFSET_HOLD_S            fade out again
 *
 * Subtracting the running mean is a first-order high-pass at 0.5 Hz. Music does not reach the
 * limit: the mean of a full-scale tone of 20 Hz is 0.027, and its sign changes with the tone. */
static const double OFFSET_MEAN_S = 0.3, OFFSET_LIMIT = 0.1, OFFSET_HOLD_S = 0.5,
                    OFFSET_FADE_S = 0.1;

int nv_offset_run(offset_guard *g, float *const *x, int frames, double rate_hz, int wanted) {
    double block_s = frames / rate_hz, before[NV_OUTPUTS], largest = 0;
    for (int c = 0; c < NV_OUTPUTS; c++) {
        float sum = 0;
        for (int i = 0; i < frames; i++) sum += x[c][i];
        before[c] = g->mean[c];
        g->mean[c] += (1 - exp(-block_s / OFFSET_MEAN_S)) * (sum / frames - g->mean[c]);
        largest = fmax(largest, fabs(g->mean[c]));
    }
    int on = g->amount.target > 0,
        wrong = on ? !wanted || largest < OFFSET_LIMIT / 4 : wanted && largest > OFFSET_LIMIT;
    g->held_s = wrong ? g->held_s + block_s : 0;
    if (g->held_s > OFFSET_HOLD_S)
        ramp_to(&g->amount, !on, (int)(OFFSET_FADE_S * rate_hz)), g->held_s = 0;
    if (g->amount.value == 0 && g->amount.left == 0) return 0;
    ramp amount = g->amount;
    for (int c = 0; c < NV_OUTPUTS; c++) {
        double mean = before[c], step = (g->mean[c] - mean) / frames;
        amount = g->amount;
        for (int i = 0; i < frames; i++) x[c][i] -= (float)(ramp_next(&amount) * (mean += step));
    }
    g->amount = amount;
    return 1;
}
