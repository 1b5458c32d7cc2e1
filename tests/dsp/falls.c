/* falls FIRST LAST: finds how drawn bands fall, some for each seed, and writes falls and shares to
 * stdout: for sanitizers, and to compare processors. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "shaping.h"

enum { BANDS = 7 };

static uint64_t state;

static uint32_t draw(uint32_t below) { /* xorshift (Marsaglia 2003) */
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

static float number(void) { return (float)draw(1 << 20) / (1 << 19) - 1; }

static void *room_for(size_t count) {
    void *p = malloc(4 * count + 4);
    if (!p) abort();
    return p;
}

/* A square matrix of a Gaussian around the diagonal, its columns adding up to 1; some are empty. */
static float *matrix(int size) {
    float *m = room_for((size_t)(size * size));
    for (int f = 0; f < size; f++) {
        float sum = 0;
        for (int i = 0; i < size; i++) {
            float off = (float)(i - f) / 4, weight = fabsf(off) < 4 ? expf(-off * off) : 0;
            sum += m[i * size + f] = draw(50) ? weight : 0;
        }
        for (int i = 0; i < size && sum > 0; i++) m[i * size + f] /= sum;
    }
    return m;
}

static void room(void) {
    int frames = 4 + (int)draw(150), early = (int)draw((uint32_t)frames + 1);
    float *edge = room_for((size_t)frames + 1), *centre = room_for((size_t)frames), at = 0;
    for (int f = 0; f <= frames; f++) edge[f] = at, at += 0.002f + 0.02f * fabsf(number());
    for (int f = 0; f < frames; f++) centre[f] = (edge[f] + edge[f + 1]) / 2;
    float *blur = matrix(early), *slope = matrix(frames);
    int32_t *blur_rows = room_for((size_t)early / 2 + 4),
            *slope_rows = room_for((size_t)frames / 2 + 4);
    nv_find_rows(blur, early, blur_rows), nv_find_rows(slope, frames, slope_rows);
    nv_falls falls = {.frames = frames,
                      .early = early,
                      .edge_s = edge,
                      .centre_s = centre,
                      .blur = blur,
                      .slope = slope,
                      .blur_rows = blur_rows,
                      .slope_rows = slope_rows};
    float *level = room_for((size_t)(BANDS * frames)), direct[BANDS], share[BANDS];
    for (int b = 0; b < BANDS; b++) {
        float per_s = draw(5) ? 30 + 400 * fabsf(number()) : 10000 * number();
        for (int f = 0; f < frames; f++) level[b * frames + f] = 8 * number() - per_s * centre[f];
        direct[b] = 20 * number();
    }
    float *fall = room_for((size_t)(BANDS * (frames + 1)));
    float decay = draw(6) ? exp2f(4 * number()) : 1;
    if (nv_find_falls(&falls, BANDS, level, draw(2) ? direct : NULL, decay, fall, share)) abort();
    fwrite(fall, sizeof *fall, (size_t)(BANDS * (frames + 1)), stdout);
    fwrite(share, sizeof *share, BANDS, stdout);
    int32_t last[BANDS], frame[3 * NV_POINTS];
    float start[BANDS], rate[BANDS], beyond[3 * NV_POINTS], out[3 * BANDS];
    if (nv_find_reliable(&falls, BANDS, level, last)) abort();
    if (nv_find_lines(&falls, BANDS, level, last, start, rate)) abort();
    fwrite(start, sizeof *start, BANDS, stdout), fwrite(rate, sizeof *rate, BANDS, stdout);
    for (int i = 0; i < 3 * NV_POINTS; i++) {
        frame[i] = (int32_t)draw((uint32_t)frames);
        beyond[i] = draw(4) ? 0 : fabsf(number());
    }
    nv_stretch stretch = {frames, 3, frame, beyond, number(), draw(2) ? 300 : 9000};
    if (nv_stretch_map(&stretch, BANDS, level, rate, out)) abort();
    fwrite(out, sizeof *out, 3 * BANDS, stdout);
    free(edge), free(centre), free(blur), free(slope), free(blur_rows), free(slope_rows);
    free(level), free(fall);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    for (long seed = atol(argv[1]); seed <= atol(argv[2]); seed++) {
        state = 88172645463325252u + (uint64_t)seed * 7919;
        for (int i = 0; i < 8; i++) draw(2);
        room();
    }
    return 0;
}
