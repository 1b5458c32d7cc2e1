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

INLINE void late_hadamard(vec *a) {
    for (int span = 1; span < V; span *= 2)
        for (int k = 0; k < V; k++)
            if (!(k & span)) {
                vec sum = a[k] + a[k + span];
                a[k + span] = a[k] - a[k + span], a[k] = sum;
            }
}

/* Falls and mixes a group of V lines into rows of `mixed`. */
INLINE void late_group(nv_late_lines *l, int group, float (*mixed)[NV_LATE_STEP], int frames,
                       int glides) {
    vec state[NV_LATE_FALLS], a[V];
    for (int k = 0; k < NV_LATE_FALLS; k++) state[k] = get(&l->fall_state[k][group]);
    for (int t = 0; t < frames; t += V) {
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
        for (int n = 0; n < V; n++) {
            const float(*pole)[NV_LATE_LINES] = l->fall_pole, (*gain)[NV_LATE_LINES] = l->fall;
#if defined(__x86_64__)
            /* Read from memory by each instruction: else GCC loads what has no register. */
            __asm__("" : "+r"(pole), "+r"(gain));
#endif
            vec x = a[n], y = get(&gain[0][group]) * x, more = get(&l->fall_step[0][group]) * x;
#pragma GCC unroll 8
            for (int k = 0; k < NV_LATE_FALLS; k++) {
                state[k] = get(&pole[k][group]) * state[k] + x;
                y += get(&gain[k + 1][group]) * state[k];
                more += get(&l->fall_step[k + 1][group]) * state[k];
            }
            a[n] = glides ? y + all((float)(t + n + 1)) * more : y;
        }
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

INLINE late_bits late_larger(late_bits a, late_bits b) { return ((a > b) & a) | (~(a > b) & b); }

/* Both sides, from two sums of all lines whose signs are bent functions: no line alone is heard.
 * The last stage of the Hadamard matrix, of lines i and i + 8, leaves 8 terms of each sum. 1 if a
 * sample is NaN or infinite. */
INLINE int late_out(const nv_late_lines *l, float (*mixed)[NV_LATE_STEP], int frames, int glides) {
    vec frame, middle = all(2 * l->sum[0]), side = all(2 * l->sum[1]);
    for (int k = 0; k < V; k++) frame[k] = (float)(k + 1);
    late_bits most = {0}; /* as integers, the larger number is the larger one */
#pragma GCC unroll 8
    for (int t = 0; t < frames; t += V) {
        vec a = get(&mixed[0][t]) + get(&mixed[2][t]) + get(&mixed[12][t]) + get(&mixed[14][t]),
            b = get(&mixed[1][t]) - get(&mixed[3][t]) + get(&mixed[13][t]) - get(&mixed[15][t]);
        vec m = middle, s = side, at = frame + all((float)t);
        if (glides) m += all(2 * l->sum_step[0]) * at, s += all(2 * l->sum_step[1]) * at;
        m *= a + b, s *= a - b;
        vec left = m + s, right = m - s;
        late_bits one = (late_bits)left & 0x7fffffff, two = (late_bits)right & 0x7fffffff;
        most = late_larger(most, late_larger(one, two));
        put(l->out[0] + t, left), put(l->out[1] + t, right);
    }
    int wrong = 0;
    for (int k = 0; k < V; k++) wrong |= most[k] >= 0x7f800000;
    return wrong;
}

/* The last stage, and what comes in. */
INLINE void late_in(const nv_late_lines *l, float (*mixed)[NV_LATE_STEP], int frames) {
    enum { HALF = NV_LATE_LINES / 2 };
    for (int i = 0; i < HALF; i++) {
        const float *p = l->tap[i], *q = l->tap[i + HALF];
        vec gp = all(l->tap_gain[i]), gq = all(l->tap_gain[i + HALF]);
        float *to_p = l->to[i], *to_q = l->to[i + HALF];
#pragma GCC unroll 8
        for (int t = 0; t < frames; t += V) {
            vec a = get(&mixed[i][t]), b = get(&mixed[i + HALF][t]);
            put(to_p + t, a + b + gp * get_any(p + t));
            put(to_q + t, a - b + gq * get_any(q + t));
        }
    }
    for (int i = 0; l->caught[0] && i < NV_LATE_LINES; i++) {
        const float *caught = l->caught[i / HALF];
        float *to = l->to[i];
        vec gain = all(l->sign[i]);
        for (int t = 0; t < frames; t += V)
            put(to + t, get(to + t) + gain * get_any(caught + t));
    }
}

INLINE int late_lines_of(nv_late_lines *l, int frames, int glides) {
    _Alignas(64) float mixed[NV_LATE_LINES][NV_LATE_STEP];
    for (int group = 0; group < NV_LATE_LINES; group += V)
        late_group(l, group, mixed, frames, glides);
    late_between(mixed, frames);
    int wrong = late_out(l, mixed, frames, glides);
    late_in(l, mixed, frames);
    for (int c = 0; c < 2 && l->add[0] && !wrong; c++)
#pragma GCC unroll 8
        for (int t = 0; t < frames; t += V)
            put_any(l->add[c] + t, get_any(l->add[c] + t) + get(l->out[c] + t));
    return wrong;
}

/* A step of all lines. 1 if a sample is NaN or infinite. */
static int late_lines(nv_late_lines *l) {
    if (l->fall_glides) return late_lines_of(l, l->frames, 1);
    if (l->frames == NV_LATE_STEP) return late_lines_of(l, NV_LATE_STEP, 0);
    return late_lines_of(l, l->frames, 0);
}

/* The sums of neighbours: of a, then of b; with eight lanes in each half. */
INLINE vec late_pairs(vec a, vec b) {
#if defined(__AVX__) && NV_LANES == 8
    return __builtin_ia32_haddps256(a, b);
#elif NV_LANES == 8
    return __builtin_shufflevector(a, b, 0, 2, 8, 10, 4, 6, 12, 14) +
           __builtin_shufflevector(a, b, 1, 3, 9, 11, 5, 7, 13, 15);
#else
    return __builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7);
#endif
}

/* The sums of all lanes of V vectors. */
INLINE vec late_sums(const vec *a) {
    vec low = late_pairs(late_pairs(a[0], a[1]), late_pairs(a[2], a[3]));
#if NV_LANES == 8
    vec high = late_pairs(late_pairs(a[4], a[5]), late_pairs(a[6], a[7]));
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 8, 9, 10, 11) +
           __builtin_shufflevector(low, high, 4, 5, 6, 7, 12, 13, 14, 15);
#else
    return low;
#endif
}

INLINE void late_level_side(nv_late_lines *l, int side, const float *in, float *out, int frames,
                            int glides) {
    enum { PARTS = NV_LATE_LEVELS / V };
    vec state[PARTS], pole[PARTS], gain[PARTS], step[PARTS], direct, frame;
    for (int k = 0; k < V; k++) frame[k] = (float)(k + 1);
    for (int k = 0; k < PARTS; k++) {
        state[k] = get(&l->level_state[side][k * V]), pole[k] = get(&l->level_pole[k * V]);
        gain[k] = get(&l->level[k * V]), step[k] = get(&l->level_step[k * V]);
    }
    direct = all(l->level[NV_LATE_LEVELS]);
#pragma GCC unroll 2
    for (int t = 0; t < frames; t += V) {
        vec part[V];
#pragma GCC unroll 8
        for (int n = 0; n < V; n++) {
            vec x = all(in[t + n]);
            part[n] = all(0);
            for (int k = 0; k < PARTS; k++) {
                state[k] = pole[k] * state[k] + x;
                if (glides) gain[k] += step[k];
                part[n] += gain[k] * state[k];
            }
        }
        vec now = glides ? direct + all(l->level_step[NV_LATE_LEVELS]) * (frame + all((float)t))
                         : direct;
        put_any(out + t, now * get_any(in + t) + late_sums(part));
    }
    for (int k = 0; k < PARTS; k++) put(&l->level_state[side][k * V], state[k]);
}

/* The filter at the input of both sides. */
static void late_level(nv_late_lines *l, const float *const *in, float *const *out) {
    for (int c = 0; c < 2; c++)
        if (l->level_glides)
            late_level_side(l, c, in[c], out[c], l->frames, 1);
        else if (l->frames == NV_LATE_STEP)
            late_level_side(l, c, in[c], out[c], NV_LATE_STEP, 0);
        else
            late_level_side(l, c, in[c], out[c], l->frames, 0);
}

/* Schroeder all-passes in place: one echo becomes many, and no frequency is louder. */
INLINE void late_diffuse_all(float *x, const float *const *from, float *const *to, int frames) {
    vec gain = all(0.6f);
    const float *before[NV_LATE_PASSES];
    float *after[NV_LATE_PASSES];
    for (int i = 0; i < NV_LATE_PASSES; i++) before[i] = from[i], after[i] = to[i];
#pragma GCC unroll 4
    for (int t = 0; t < frames; t += V) {
        vec y = get_any(x + t);
#pragma GCC unroll 4
        for (int i = 0; i < NV_LATE_PASSES; i++) {
            vec old = get_any(before[i] + t), now = y + gain * old;
            put_any(after[i] + t, now), y = old - gain * now;
        }
        put_any(x + t, y);
    }
}
static void late_diffuse(float *x, const float *const *from, float *const *to, int frames) {
    if (frames == NV_LATE_STEP)
        late_diffuse_all(x, from, to, NV_LATE_STEP);
    else
        late_diffuse_all(x, from, to, frames);
}
#endif
