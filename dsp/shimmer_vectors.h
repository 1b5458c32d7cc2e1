/* The inner loop of shimmer.h. Included by kernel_simd.c, once for each instruction set. */
#ifndef NV_SHIMMER_VECTORS_H
#define NV_SHIMMER_VECTORS_H
#include "kernel_vectors.h"
#include "movement_vectors.h"

#if NV_LANES == 8
#define SHIMMER_FIRST 0, 2, 8, 10, 4, 6, 12, 14
#define SHIMMER_NEXT 1, 3, 9, 11, 5, 7, 13, 15
#else
#define SHIMMER_FIRST 0, 2, 4, 6
#define SHIMMER_NEXT 1, 3, 5, 7
#endif

/* out[t] = in[at + t * pace], along the line between two frames. A frame and the next one are
 * loaded together. */
static void shimmer_read(float *out, const float *in, float at, float pace, int frames) {
    typedef int whole_vec __attribute__((vector_size(NV_LANES * 4)));
    typedef int64_t pairs __attribute__((vector_size(NV_LANES * 4)));
    typedef int64_t pair __attribute__((aligned(4), may_alias));
    vec place = all(at) + all(pace) * delayed_frame;
    for (int t = 0; t < frames; t += V, place += all(V * pace)) {
        whole_vec whole = __builtin_convertvector(place, whole_vec);
        vec share = place - __builtin_convertvector(whole, vec);
#define PAIR(k) *(const pair *)(in + (uint32_t)whole[k])
#if NV_LANES == 8
        pairs a = {PAIR(0), PAIR(1), PAIR(4), PAIR(5)}, b = {PAIR(2), PAIR(3), PAIR(6), PAIR(7)};
#else
        pairs a = {PAIR(0), PAIR(1)}, b = {PAIR(2), PAIR(3)};
#endif
#undef PAIR
        vec first = __builtin_shufflevector((vec)a, (vec)b, SHIMMER_FIRST),
            next = __builtin_shufflevector((vec)a, (vec)b, SHIMMER_NEXT);
        put_any(out + t, first + share * (next - first));
    }
}

/* The filters, of both sides at once. */
static void shimmer_filter(nv_shimmer_filter *f, const float *const *in, float *const *out,
                           int frames) {
    typedef float four __attribute__((vector_size(16)));
    typedef float four_any __attribute__((vector_size(16), aligned(4)));
    four before = {f->before[0], f->before[1]}, high = {f->high[0], f->high[1]},
         one = {f->low[0][0], f->low[0][1]}, two = {f->low[1][0], f->low[1][1]};
    four high_a = (four){0} + f->high_a, high_b = (four){0} + f->high_b;
    four low_a = (four){0} + f->low_a[0], low_b = (four){0} + f->low_a[1];
    for (int t = 0; t < frames; t += 4) {
        four l = *(const four_any *)(in[0] + t), r = *(const four_any *)(in[1] + t), x[4];
        x[0] = __builtin_shufflevector(l, r, 0, 4, 1, 5);
        x[2] = __builtin_shufflevector(l, r, 2, 6, 3, 7);
        x[1] = __builtin_shufflevector(x[0], x[0], 2, 3, 2, 3);
        x[3] = __builtin_shufflevector(x[2], x[2], 2, 3, 2, 3);
#pragma GCC unroll 4
        for (int n = 0; n < 4; n++) {
            high = high_b * (x[n] - before) + high_a * high, before = x[n];
            four y = high + one;
            one = 2 * high - low_a * y + two, two = high - low_b * y;
            x[n] = y;
        }
        four a = __builtin_shufflevector(x[0], x[1], 0, 1, 4, 5),
             b = __builtin_shufflevector(x[2], x[3], 0, 1, 4, 5);
        *(four_any *)(out[0] + t) = __builtin_shufflevector(a, b, 0, 2, 4, 6);
        *(four_any *)(out[1] + t) = __builtin_shufflevector(a, b, 1, 3, 5, 7);
    }
    for (int c = 0; c < 2; c++)
        f->before[c] = before[c], f->high[c] = high[c], f->low[0][c] = one[c],
        f->low[1][c] = two[c];
}

INLINE void shimmer_turn_of(const nv_shimmer_turn *m, int glides) {
    vec t = delayed_frame, cosine = all(m->cosine[0]), sine = all(m->sine[0]),
        gain = all(m->gain[0]), first = all(m->head_gain[0] * m->keeps[0]),
        second = all(m->head_gain[1] * m->keeps[0]);
    for (int i = 0; i < m->frames; i += V, t += V) {
        if (glides) {
            vec keeps = all(m->keeps[0]) + all(m->keeps[1]) * t;
            first = all(m->head_gain[0]) * keeps, second = all(m->head_gain[1]) * keeps;
            cosine = all(m->cosine[0]) + all(m->cosine[1]) * t;
            sine = all(m->sine[0]) + all(m->sine[1]) * t;
            gain = all(m->gain[0]) + all(m->gain[1]) * t;
        }
        vec z = first * get_any(m->window[0] + i) * get_any(m->head[0] + i) +
                second * get_any(m->window[1] + i) * get_any(m->head[1] + i);
        vec line = get_any(m->line + i), source = gain * get_any(m->source + i) - line;
        put_any(m->in + i, cosine * z + sine * source);
        put_any(m->out + i, cosine * line + sine * z);
    }
}

/* Both heads in their windows, and the rotation. */
static void shimmer_turn(const nv_shimmer_turn *m) {
    if (m->glides)
        shimmer_turn_of(m, 1);
    else
        shimmer_turn_of(m, 0);
}
#endif
