#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_build.h"
#include "latefield_state.h"

/* In shares of the seam: the taps come in along SPREAD of it, LATER after its begin. */
static const double SPREAD = 0.25, LATER = 0.54;
static const int PASS_FRAMES[2][NV_LATE_PASSES] = {{409, 887, 1367, 2251},
                                                   {461, 821, 1489, 2137}};

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
        /* The sides take turns. */
        int line = (k & 1) * NV_LATE_HALF + (k / 2 * 5 & (NV_LATE_HALF - 1));
        l->tap_delay[line] = l->seam + (int)(later + spread * arrival((k + 0.5) / NV_LATE_LINES)) -
                             l->delay[line];
        for (int i = 0; i < NV_LATE_PASSES; i++)
            l->tap_delay[line] -= l->pass_delay[k & 1][i];
    }
    l->tap_least = l->tap_delay[0];
    for (int i = 0; i < NV_LATE_LINES; i++)
        if (l->tap_delay[i] < l->tap_least) l->tap_least = l->tap_delay[i];
    static const float sign[] = {1, 1, -1, 1, -1, -1, 1, -1, 1, -1, -1, 1, 1, 1, -1, -1};
    for (int i = 0; i < NV_LATE_LINES; i++) l->lines.sign[i] = sign[i];
}

static void set_poles(nv_latefield *l) {
    double fall_hz[NV_LATE_FALLS], level_hz[NV_LATE_LEVELS];
    nv_late_poles(l->rate_hz, fall_hz, level_hz);
    nv_late_check_init(&l->check, l->rate_hz);
    for (int k = 0; k < NV_LATE_FALLS; k++)
        for (int i = 0; i < NV_LATE_LINES; i++)
            l->lines.fall_pole[k][i] = (float)exp(-2 * M_PI * fall_hz[k] / l->rate_hz);
    for (int k = 0; k < NV_LATE_LEVELS; k++)
        l->lines.level_pole[k] = (float)exp(-2 * M_PI * level_hz[k] / l->rate_hz);
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
    nv_swing_init(&l->swing, rate_hz, NV_LATE_MOVED);
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
    for (int i = 0; i < NV_LATE_LINES; i++) l->lines.tap_gain[i] = NV_LATE_GAIN * l->lines.sign[i];
    l->past_frames = l->seam + rate_hz * NV_LATE_FADE_MS / 1000 + 2 * NV_LATE_STEP;
    l->past_frames = l->past_frames / NV_LATE_STEP * NV_LATE_STEP;
    int ok = 1;
    for (int i = 0; i < NV_LATE_LINES; i++)
        ok &= (l->ring[i] = allocate(l, l->ring_frames + NV_LATE_GUARD)) != NULL;
    for (int c = 0; l->seam && c < 2; c++) {
        ok &= (l->past[c] = allocate(l, l->past_frames + NV_LATE_GUARD)) != NULL;
        for (int i = 0; i < NV_LATE_PASSES; i++)
            ok &= (l->pass[c][i] = allocate(l, l->pass_ring_frames + NV_LATE_GUARD)) != NULL;
    }
    ok &= nv_shimmer_init(&l->shimmer, rate_hz, &l->bytes);
    if (!ok) return nv_latefield_free(l), NULL;
    for (int i = 0; i < NV_LATE_LINES; i++) l->lossless[0][i] = 0.25f; /* of the matrix */
    memcpy(l->lines.fall, l->lossless, sizeof l->lines.fall);
    l->room.sum[0] = l->room.sum[1] = (float)M_SQRT1_2;
    set_poles(l);
    for (int c = 0; c < 2; c++) l->lines.out[c] = l->sound[c];
    l->next_in = -1, l->through = l->mute = 1, l->open = NV_LATE_GAIN;
    l->catch_frames = rate_hz / 1000 * NV_HOLD_MS;
    double frames = 0; /* of all lines: what is in them is heard once in as many frames */
    for (int i = 0; i < NV_LATE_LINES; i++) frames += l->delay[i];
    l->catch_whole = NV_LATE_GAIN * (float)sqrt(frames / (32.0 * l->catch_frames));
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
