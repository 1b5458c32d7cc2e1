/* rooms FIRST LAST: synthesises drawn bands, a room for each seed, and writes its samples, left and
 * right, to stdout: for sanitizers, and to compare processors. */
#include <stdio.h>
#include <stdlib.h>

#include "synthesis.h"

enum { BANDS = 12, NODES = 24, CURVES = 5 };

static uint64_t state;

static uint32_t draw(uint32_t below) { /* xorshift (Marsaglia 2003) */
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

static float number(void) { return (float)draw(1 << 20) / (1 << 19) - 1; }

static int smooth(int least, int most) {
    int n;
    do n = least + (int)draw((uint32_t)(most - least + 1));
    while (!nv_is_smooth(n));
    return n;
}

static float *numbers(int count) {
    float *x = malloc((size_t)count * sizeof *x);
    if (!x) abort();
    for (int i = 0; i < count; i++) x[i] = number();
    return x;
}

static void room(void) {
    int half = smooth(2, 6000), taps = (int)draw(2 * (uint32_t)half + 1);
    nv_band band[BANDS];
    for (int i = 0; i < BANDS; i++) {
        nv_band *b = &band[i];
        *b = (nv_band){.curve = (int)draw(CURVES), .size = smooth(2, half + 1)};
        b->first = (int)draw((uint32_t)(half + 2 - b->size));
        b->carrier = numbers(4 * b->size), b->window = numbers(b->size);
        float *share = numbers(b->size);
        int32_t *node = malloc((size_t)b->size * sizeof *node);
        if (!node) abort();
        for (int n = 0; n < b->size; n++) { /* some are beyond the curve */
            float at = (float)n * (NODES + 4) / (float)b->size;
            node[n] = (int32_t)at, share[n] = at - (float)node[n];
        }
        b->share = share, b->node = node;
    }
    float *curves = numbers(CURVES * NODES), *middle = numbers(half + 1), *side = numbers(half + 1);
    for (int c = 0; c < CURVES; c++) /* of different lengths; one is never heard */
        for (int n = 0; n < NODES; n++) curves[c * NODES + n] *= n > 7 * c - 2 ? 0.0f : 1.0f;
    float *out = numbers(2 * taps + 1);
    nv_synthesis s = {.frames = 2 * half, .bands = BANDS, .band = band};
    if (nv_synthesise(&s, curves, CURVES, NODES, middle, side, out, out + taps, taps)) abort();
    fwrite(out, sizeof *out, 2 * (size_t)taps, stdout);
    for (int i = 0; i < BANDS; i++)
        free((void *)band[i].carrier), free((void *)band[i].window), free((void *)band[i].share),
            free((void *)band[i].node);
    free(curves), free(middle), free(side), free(out);
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
