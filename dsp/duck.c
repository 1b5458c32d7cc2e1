#include "duck.h"

static const double OFF_DB = 1e-5; /* a reduction that no float of the output shows */

static double taken_in_step(double time_ms, double rate_hz) {
    return 1 - exp(-1000 * NV_KEY_STEP / (time_ms * rate_hz));
}

void nv_duck_init(nv_duck *d, double rate_hz) {
    *d = (nv_duck){.rate_hz = rate_hz, .gain = 1};
    d->attack = taken_in_step(NV_DUCK_ATTACK_MS, rate_hz);
    d->smooth = taken_in_step(NV_DUCK_SMOOTH_MS, rate_hz);
}

void nv_duck_set(nv_duck *d, double depth_db, double release_ms, int ramp_frames) {
    d->release = taken_in_step(release_ms, d->rate_hz);
    if (ramp_frames)
        ramp_to(&d->depth_db, depth_db, ramp_frames);
    else
        ramp_jump(&d->depth_db, depth_db);
}

int nv_duck_acts(const nv_duck *d) {
    return d->depth_db.value > 0 || d->depth_db.left || d->down_db > 0;
}

static double wanted_share(float level) {
    static const double SPAN_DB = NV_DUCK_TO_DB - NV_DUCK_FROM_DB;
    double share = (20 * log10((double)level + 1e-9) - NV_DUCK_FROM_DB) / SPAN_DB;
    return share < 0 ? 0 : share > 1 ? 1 : share;
}

void nv_duck_run(nv_duck *d, const float *key_steps, float *const *wet, int frames) {
    if (!nv_duck_acts(d)) {
        d->share = 0;
        return;
    }
    for (int start = 0; start < frames; start += NV_KEY_STEP) {
        double wanted = wanted_share(*key_steps++), distance = wanted - d->share;
        d->share += (distance > 0 ? d->attack : d->release) * distance;
        double depth_db = ramp_skip(&d->depth_db, NV_KEY_STEP);
        d->down_db += d->smooth * (depth_db * d->share - d->down_db);
        if (d->down_db < OFF_DB && depth_db == 0) d->down_db = 0;
        float gain = (float)pow(10, -d->down_db / 20), step = (gain - d->gain) / NV_KEY_STEP;
        for (int c = 0; c < NV_OUTPUTS; c++)
            for (int i = 0; i < NV_KEY_STEP; i++) wet[c][start + i] *= d->gain + (i + 1) * step;
        d->gain = gain;
    }
}
