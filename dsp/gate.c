#include "gate.h"

static const double SETTLED = 1e-6; /* -120 dB: a gain this near its target is there */
/* A step through two equal low-passes is within 5 % after this many of their time constants. */
static const double ATTACK_TIME_CONSTANTS = 4.7;

static double taken_in_frame(double time_ms, double rate_hz) {
    return 1 - exp(-1000 / (time_ms * rate_hz));
}

void nv_gate_init(nv_gate *g, double rate_hz) {
    *g = (nv_gate){.rate_hz = rate_hz, .open = 1, .follow = 1, .gain = 1};
    g->attack = taken_in_frame(NV_GATE_ATTACK_MS / ATTACK_TIME_CONSTANTS, rate_hz);
}

void nv_gate_set(nv_gate *g, int on, double threshold_db, double hold_ms, double release_ms) {
    g->on = on;
    g->opens_at = (float)pow(10, threshold_db / 20);
    g->holds_at = (float)pow(10, (threshold_db - NV_GATE_HYSTERESIS_DB) / 20);
    g->hold_frames = (int)(hold_ms * g->rate_hz / 1000);
    g->release = taken_in_frame(release_ms, g->rate_hz);
}

int nv_gate_acts(const nv_gate *g) { return g->on || g->gain != 1; }

static void look(nv_gate *g, float level) {
    if (!g->on || level >= g->opens_at) g->open = 1;
    if (!g->open) return;
    if (!g->on || level >= g->holds_at) g->held_frames = g->hold_frames;
    else if ((g->held_frames -= NV_KEY_STEP) < 0) g->open = 0;
}

void nv_gate_run(nv_gate *g, const float *key_steps, float *const *x, int channels, int frames) {
    if (!nv_gate_acts(g)) return;
    for (int start = 0; start < frames; start += NV_KEY_STEP) {
        look(g, *key_steps++);
        if (g->gain == g->open && g->follow == g->open) {
            if (!g->open)
                for (int c = 0; c < channels; c++)
                    for (int i = start; i < start + NV_KEY_STEP; i++) x[c][i] = 0;
            continue;
        }
        for (int i = start; i < start + NV_KEY_STEP; i++) {
            g->follow += (g->open ? g->attack : g->release) * (g->open - g->follow);
            g->gain += g->attack * (g->follow - g->gain);
            for (int c = 0; c < channels; c++) x[c][i] *= (float)g->gain;
        }
        if (fabs(g->gain - g->open) < SETTLED && fabs(g->follow - g->open) < SETTLED)
            g->gain = g->follow = g->open;
    }
}
