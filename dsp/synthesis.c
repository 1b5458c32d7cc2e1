#include "synthesis.h"

#include <stdlib.h>
#include <string.h>

#include "kernel_build.h"

int nv_is_smooth(int number) {
    if (number < 1) return 0;
    for (int factor = 2; factor <= 5; factor++)
        while (number % factor == 0) number /= factor;
    return number == 1;
}

int nv_find_curves(const nv_map *map, const int32_t *after, const float *share, float *curves) {
    float *points = malloc(2 * ((size_t)map->frames + 1) * sizeof *points);
    if (points) nv_best_simd()->find_curves(map, after, share, points, curves);
    free(points);
    return points ? 0 : -1;
}

/* The number of the last node that is heard, and -1 if none is. The last node is the end of a
 * line only. */
static int last_heard(const float *curve, int nodes, float limit) {
    int node = nodes - 2;
    while (node >= 0 && !(curve[node] > limit)) node--;
    return node;
}

static float loudest(const float *x, size_t count) {
    float peak = 0;
    for (size_t i = 0; i < count; i++) peak = x[i] > peak ? x[i] : peak;
    return peak;
}

int nv_synthesise(const nv_synthesis *s, const float *curves, int rows, int nodes,
                  const float *middle, const float *side, float *left, float *right, int taps) {
    const nv_simd *simd = nv_best_simd();
    int half = s->frames / 2;
    size_t most = (size_t)half + 1, line = 64;
    for (int i = 0; i < s->bands; i++)
        if ((size_t)s->band[i].size > most) most = (size_t)s->band[i].size;
    /* One piece, aligned here: glibc's aligned_alloc() uses freed memory badly. */
    char *memory = malloc((most * 13 + 2 * (size_t)nodes) * sizeof(float) + line);
    if (memory) {
        float *spectrum = (float *)(memory + -(uintptr_t)memory % line);
        nv_synthesis_work work = {.spectrum = spectrum,
                                  .points = {spectrum + 4 * most, spectrum + 8 * most},
                                  .gain = spectrum + 12 * most,
                                  .lines = spectrum + 13 * most};
        memset(spectrum, 0, ((size_t)half + 1) * 4 * sizeof *spectrum);
        float limit = NV_UNHEARD * loudest(curves, (size_t)rows * (size_t)nodes);
        for (int i = 0; i < s->bands; i++) {
            const float *curve = curves + (size_t)s->band[i].curve * (size_t)nodes;
            int last = last_heard(curve, nodes, limit);
            if (last >= 0) simd->add_band(&s->band[i], curve, last, &work);
        }
        simd->make_samples(s->frames, middle, side, left, right, taps, &work);
    }
    free(memory);
    return memory ? 0 : -1;
}
