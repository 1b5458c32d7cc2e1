/* The inner loop of movement.h. Included by kernel_simd.c, once for each instruction set. */
#ifndef NV_MOVEMENT_VECTORS_H
#define NV_MOVEMENT_VECTORS_H
#include "kernel_vectors.h"

#if NV_LANES == 8
static const vec delayed_frame = {0, 1, 2, 3, 4, 5, 6, 7};
#else
static const vec delayed_frame = {0, 1, 2, 3};
#endif

/* out[t] = gain * in[t - delay - t * slope], by Lagrange's polynomial of fifth order through the
 * three frames on each side. The delay is 2 frames at the least. */
static void delayed(float *out, const float *in, float delay, float slope, float gain, int frames) {
    vec steps = all(slope) * delayed_frame, scale = all(gain / 12), tenth = all(0.1f * gain / 12),
        half = all(0.5f * gain / 12);
#pragma GCC unroll 2
    for (int t = 0; t < frames; t += V, delay += V * slope) {
        int whole = (int)(delay + slope * (V / 2));
        vec f = all(delay - (float)whole) + steps;
        const float *p = in + t - whole;
        /* The nodes are at -2 .. 3; q, q - 2 and q - 6 are products of the distances to two. */
        vec q = f * f - f, near = q - 2, far = q - 6;
        vec outer = (f + 2) * get_any(p - 3) - (f - 3) * get_any(p + 2);
        vec middle = (f - 2) * get_any(p + 1) - (f + 1) * get_any(p - 2);
        vec inner = f * get_any(p - 1) - (f - 1) * get_any(p);
        vec sum = near * (tenth * q * outer + scale * far * inner) + half * q * far * middle;
        put_any(out + t, sum);
    }
}
#endif
