/* Four pulses at once; see pulses.h. Included by kernel_simd.c, once for each instruction set.
 *
 * A pulse is the cepstral method's (Oppenheim & Schafer): the transform of the logarithm of its
 * spectrum, folded, and transformed back, gives its phases. The transforms of synthesis_vectors.h
 * have two complex channels: four real signals. The spectra of two signals in one channel are taken
 * apart by their symmetry.
 */
#ifndef NV_PULSES_VECTORS_H
#define NV_PULSES_VECTORS_H
#include <string.h>

#include "pulses.h"
#include "synthesis_vectors.h"

/* The cosine and sine of angles up to 6000. */
INLINE void turned(four angle, four *re, four *im) {
    four turns = angle * four_all(0.159154943f);
    four_int whole = __builtin_convertvector(turns + four_all(1024.5f), four_int) - 1024;
    four half = (turns - __builtin_convertvector(whole, four)) * four_all(3.14159265f);
    four square = half * half;
    four sine = four_all(-1 / 39916800.0f), cosine = four_all(1 / 479001600.0f);
    static const float SINE[] = {1 / 362880.0f, -1 / 5040.0f, 1 / 120.0f, -1 / 6.0f, 1},
                       COSINE[] = {-1 / 3628800.0f, 1 / 40320.0f, -1 / 720.0f,
                                   1 / 24.0f,       -1 / 2.0f,    1};
#pragma GCC unroll 5
    for (int k = 0; k < 5; k++) sine = sine * square + four_all(SINE[k]);
#pragma GCC unroll 6
    for (int k = 0; k < 6; k++) cosine = cosine * square + four_all(COSINE[k]);
    sine *= half;
    *re = four_all(1) - four_all(2) * sine * sine;
    *im = four_all(2) * sine * cosine;
}

/* Transforms w->x to w->y, times `window`. */
static void transform_pulses(int size, const float *window, const nv_pulse_work *w) {
    nv_points_to to = {.window = window, .spectrum = w->y};
    memset(w->y, 0, (size_t)size * 4 * sizeof *w->y);
    transform(size, w->x, NULL, 0, w->points, &to);
}

/* level: [bands][4], the density of each pulse in each band. out: [size / 2][4]. */
static void four_pulses(const nv_pulses *p, const float *level, const nv_pulse_work *w,
                        float *out) {
    int half = p->size / 2;
    size_t size = (size_t)p->size;
    four top = four_all(-1e30f);
    for (int k = 0; k <= half; k++) {
        const float *low = level + 4 * (size_t)p->node[k];
        four at = four_get(low), next = four_get(low + 4);
        at += four_all(p->share[k]) * (next - at);
        top = four_larger(top, at);
        four_put(w->level + 4 * k, at);
    }
    for (int k = 0; k <= half; k++) {
        four at = four_larger(four_get(w->level + 4 * k), top - four_all(NV_DEEPEST_DB));
        four_put(w->level + 4 * k, at);
        four nepers = (at - top) * four_all(0.115129255f);
        four_put(w->x + 4 * k, nepers);
        if (k) four_put(w->x + 4 * (size - (size_t)k), nepers);
    }
    transform_pulses(p->size, w->fold, w);
    memcpy(w->x, w->y, size * 4 * sizeof *w->x);
    transform_pulses(p->size, w->halves, w);
    for (int k = 0; k <= half; k++) {
        static const four SIGN = {1, 1, -1, -1};
        four here = four_get(w->y + 4 * k),
             there = four_get(w->y + 4 * (k ? size - (size_t)k : 0)), re, im;
        /* A channel has the spectrum of one pulse and i times that of another. Phases: */
        four odd = here - there; /* re of two channels, im of both */
        turned(halves_exchanged(odd) * SIGN, &re, &im);
        four loud = exp2_of(four_get(w->level + 4 * k) * four_all(0.166096405f));
        re *= loud, im *= loud;
        four crossed = halves_exchanged(im) * SIGN; /* -im of the second, im of the first */
        /* The inverse: re and im exchanged before and after. */
        four_put(w->x + 4 * k, halves_exchanged(re - crossed));
        if (k && k < half)
            four_put(w->x + 4 * (size - (size_t)k), halves_exchanged(re + crossed));
    }
    transform_pulses(p->size, w->fades, w);
    for (int i = 0; i < half; i++) four_put(out + 4 * i, halves_exchanged(four_get(w->y + 4 * i)));
}

#endif
