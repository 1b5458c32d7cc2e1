/* The inner loops of the late field; see latefield.h. Included by kernel_simd.c, once for each
 * instruction set.
 *
 * The lines are in memory as they come in time. V lines by V frames are transposed, so that a
 * vector has a frame of V lines and recursive sections run on all of them; transposed back, and
 * mixed by a Hadamard matrix: within each group of V lines in registers, then across groups.
 */
#ifndef NV_LATEFIELD_VECTORS_H
#define NV_LATEFIELD_VECTORS_H
#include "kernel_vectors.h"
#include "latefield_lines.h"

typedef int late_bits __attribute__((vector_size(NV_LANES * 4)));

#if NV_LANES == 8
/* a[0 .. 7] -> the transposed 8 x 8. */
INLINE void late_transpose(vec *a) {
    vec low[4], high[4];
    for (int k = 0; k < 4; k++) {
        low[k] = __builtin_shufflevector(a[k], a[k + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        high[k] = __builtin_shufflevector(a[k], a[k + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
    transpose4(low), transpose4(high);
    for (int k = 0; k < 4; k++) a[k] = low[k], a[k + 4] = high[k];
}
#else
INLINE void late_transpose(vec *a) { transpose4(a); }
#endif

#if NV_LANES == 8
#define LATE_AFTER_FIRST 0, 9, 10, 11, 12, 13, 14, 15
#else
#define LATE_AFTER_FIRST 0, 5, 6, 7
#endif

INLINE void late_hadamard(vec *a) {
    for (int span = 1; span < V; span *= 2)
        for (int k = 0; k < V; k++)
            if (!(k & span)) {
                vec sum = a[k] + a[k + span];
                a[k + span] = a[k] - a[k + span], a[k] = sum;
            }
}

/* Falls and mixes a group of V lines into rows of `mixed`. */
INLINE void late_group(nv_late_lines *l, int group, float (*mixed)[NV_LATE_STEP]) {
    vec state[NV_LATE_FALLS], a[V];
    for (int k = 0; k < NV_LATE_FALLS; k++) state[k] = get(&l->fall_state[k][group]);
    for (int t = 0; t < l->frames; t += V) {
#if NV_LANES == 8
        /* Halves of rows are loaded where the transposed ones need them. */
        typedef float half __attribute__((vector_size(16), aligned(4)));
        vec low[4], high[4];
        for (int k = 0; k < 4; k++) {
            const float *p = l->from[group + k] + t, *q = l->from[group + k + 4] + t;
            low[k] =
                __builtin_shufflevector(*(const half *)p, *(const half *)q, 0, 1, 2, 3, 4, 5, 6, 7);
            high[k] = __builtin_shufflevector(*(const half *)(p + 4), *(const half *)(q + 4), 0, 1,
                                              2, 3, 4, 5, 6, 7);
        }
        transpose4(low), transpose4(high);
        for (int k = 0; k < 4; k++) a[k] = low[k], a[k + 4] = high[k];
#else
        for (int k = 0; k < V; k++) a[k] = get_any(l->from[group + k] + t);
        late_transpose(a);
#endif
#pragma GCC unroll 8
        for (int n = 0; n < V; n++)
#pragma GCC unroll 8
            for (int k = 0; k < NV_LATE_FALLS; k++) {
                const float(*q)[NV_LATE_LINES] = l->fall[k];
                vec x = a[n];
                if (n == V - 1) put(&l->fall_last[k][group], x);
                a[n] = get(&q[0][group]) * x + state[k];
                state[k] = get(&q[1][group]) * x - get(&q[2][group]) * a[n];
            }
        put(&l->fall_last[NV_LATE_FALLS][group], a[V - 1]);
        late_transpose(a);
        late_hadamard(a);
        for (int k = 0; k < V; k++) put(&mixed[group + k][t], a[k]);
    }
    for (int k = 0; k < NV_LATE_FALLS; k++) put(&l->fall_state[k][group], state[k]);
}

/* The mixing between groups that are not the two halves. */
INLINE void late_between(float (*mixed)[NV_LATE_STEP], int frames) {
    for (int span = V; span < NV_LATE_LINES / 2; span *= 2)
        for (int i = 0; i < NV_LATE_LINES; i++)
            for (int t = 0; !(i & span) && t < frames; t += V) {
                vec a = get(&mixed[i][t]), b = get(&mixed[i + span][t]);
                put(&mixed[i][t], a + b), put(&mixed[i + span][t], a - b);
            }
}

/* Both sides, from two sums of all lines whose signs are bent functions: no line alone is heard.
 * The last stage of the Hadamard matrix, of lines i and i + 8, leaves 8 terms of each sum. 1 if a
 * sample is NaN or infinite. */
INLINE int late_out(const nv_late_lines *l, float (*mixed)[NV_LATE_STEP]) {
    vec frame;
    for (int k = 0; k < V; k++) frame[k] = (float)(k + 1);
    vec middle = all(2 * l->middle) + all(2 * l->middle_step) * frame,
        side = all(2 * l->side) + all(2 * l->side_step) * frame;
    late_bits wrong = {0};
    for (int t = 0; t < l->frames; t += V) {
        vec a = get(&mixed[0][t]) + get(&mixed[2][t]) + get(&mixed[12][t]) + get(&mixed[14][t]),
            b = get(&mixed[1][t]) - get(&mixed[3][t]) + get(&mixed[13][t]) - get(&mixed[15][t]);
        vec m = middle * (a + b), s = side * (a - b);
        middle += all(2 * V * l->middle_step), side += all(2 * V * l->side_step);
        vec left = m + s, right = m - s;
        wrong |= (((late_bits)left & 0x7f800000) == 0x7f800000) |
                 (((late_bits)right & 0x7f800000) == 0x7f800000);
        put_any(l->out[0] + t, get_any(l->out[0] + t) + left);
        put_any(l->out[1] + t, get_any(l->out[1] + t) + right);
    }
    int any = 0;
    for (int k = 0; k < V; k++) any |= wrong[k];
    return any;
}

/* The last stage, and what comes in. */
INLINE void late_in(const nv_late_lines *l, float (*mixed)[NV_LATE_STEP]) {
    enum { HALF = NV_LATE_LINES / 2 };
    for (int i = 0; i < HALF; i++) {
        const float *p = l->tap[i], *q = l->tap[i + HALF];
        vec gp = all(l->tap_gain * l->sign[i]), gq = all(l->tap_gain * l->sign[i + HALF]);
        float *to_p = l->to[i], *to_q = l->to[i + HALF];
#pragma GCC unroll 4
        for (int t = 0; t < l->frames; t += V) {
            vec a = get(&mixed[i][t]), b = get(&mixed[i + HALF][t]);
            put(to_p + t, a + b + gp * get_any(p + t));
            put(to_q + t, a - b + gq * get_any(q + t));
        }
    }
    for (int i = 0; l->caught[0] && i < NV_LATE_LINES; i++) {
        const float *caught = l->caught[i / HALF];
        float *to = l->to[i];
        vec gain = all(l->sign[i]);
        for (int t = 0; t < l->frames; t += V)
            put(to + t, get(to + t) + gain * get_any(caught + t));
    }
}

/* A step of all lines. 1 if a sample is NaN or infinite. */
static int late_lines(nv_late_lines *l) {
    _Alignas(64) float mixed[NV_LATE_LINES][NV_LATE_STEP];
    for (int group = 0; group < NV_LATE_LINES; group += V) late_group(l, group, mixed);
    late_between(mixed, l->frames);
    int wrong = late_out(l, mixed);
    late_in(l, mixed);
    return wrong;
}

/* The sections at the input of both sides: in -> out, NV_LATE_LEVELS frames later. */
static void late_level(nv_late_lines *l, const float *const *in, float *const *out) {
    enum { PARTS = NV_LATE_LEVELS / V };
    vec state[2][PARTS], x[2][PARTS];
    for (int c = 0; c < 2; c++)
        for (int k = 0; k < PARTS; k++)
            state[c][k] = get(&l->level_state[c][k * V]), x[c][k] = get(&l->level_passed[c][k * V]);
#pragma GCC unroll 4
    for (int t = 0; t < l->frames; t++)
#pragma GCC unroll 2
        for (int c = 0; c < 2; c++) {
            vec first = x[c][0];
            out[c][t] = first[0];
            first = __builtin_shufflevector((vec){in[c][t]}, first, LATE_AFTER_FIRST);
            x[c][0] = first;
            for (int k = 0; k < PARTS; k++) {
                vec y = get(&l->level[0][k * V]) * x[c][k] + state[c][k];
                state[c][k] = get(&l->level[1][k * V]) * x[c][k] - get(&l->level[2][k * V]) * y;
                x[c][k] = y;
            }
            /* Each section's output to the next one; the last one's to where it is written. */
#if NV_LANES == 8
            x[c][0] = __builtin_shufflevector(x[c][0], x[c][0], 7, 0, 1, 2, 3, 4, 5, 6);
#else
            vec a = x[c][0], b = x[c][1];
            x[c][0] = __builtin_shufflevector(a, b, 7, 0, 1, 2);
            x[c][1] = __builtin_shufflevector(a, b, 3, 4, 5, 6);
#endif
        }
    for (int c = 0; c < 2; c++)
        for (int k = 0; k < PARTS; k++)
            put(&l->level_state[c][k * V], state[c][k]), put(&l->level_passed[c][k * V], x[c][k]);
}

/* A Schroeder all-pass in place: one echo becomes many, and no frequency is louder. */
static void late_diffuse(float *x, const float *from, float *to, int frames) {
    vec gain = all(0.6f);
#pragma GCC unroll 4
    for (int t = 0; t < frames; t += V) {
        vec before = get_any(from + t), now = get_any(x + t) + gain * before;
        put_any(to + t, now), put_any(x + t, before - gain * now);
    }
}

/* What makes the lines fall goes a share of the way to `to`. The states become what they were if
 * the sections had always been as they are now: else each step of a glide would be heard. */
static void late_glide_falls(nv_late_lines *l, const float (*to)[3][NV_LATE_LINES], float share) {
    for (int k = 0; k < NV_LATE_FALLS; k++)
        for (int i = 0; i < NV_LATE_LINES; i += V) {
            vec change[3];
            for (int q = 0; q < 3; q++) {
                float *now = &l->fall[k][q][i];
                change[q] = all(share) * (get_any(&to[k][q][i]) - get(now));
                put(now, get(now) + change[q]);
            }
            put(&l->fall_state[k][i], get(&l->fall_state[k][i]) +
                                          change[1] * get(&l->fall_last[k][i]) -
                                          change[2] * get(&l->fall_last[k + 1][i]));
        }
}
#endif
