/* A vector has four floats: a complex sample (or bin) of two channels. So a transform of any length
 * is vectorised. Transforms are Stockham's, which need no reordering, of radix 4, 2, 3 and 5; roots
 * of unity are computed on the way, because tables of all lengths would take tens of MB. */
#include "synthesis.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef float vec __attribute__((vector_size(16)));
typedef float vec_unaligned __attribute__((vector_size(16), aligned(4)));
#define INLINE static inline __attribute__((always_inline))

enum { MAX_RADIX = 5 };

INLINE vec all(float x) { return (vec){x, x, x, x}; }
INLINE vec get(const float *p) { return (vec) * (const vec_unaligned *)p; }
INLINE vec swapped(vec z) { return __builtin_shufflevector(z, z, 1, 0, 3, 2); }
static const vec I = {-1, 1, -1, 1}; /* i z = swapped(z) * I */
static const vec CONJUGATE = {1, -1, 1, -1};
INLINE vec times(vec z, float re, float im) { return z * all(re) + swapped(z) * (I * all(im)); }

int nv_is_smooth(int number) {
    if (number < 1) return 0;
    for (int factor = 2; factor <= MAX_RADIX; factor++)
        while (number % factor == 0) number /= factor;
    return number == 1;
}

/* ---- transforms ------------------------------------------------------------------------------ */

/* The transform of r points with e^(i turn); turn: I, or -I. */
INLINE void butterfly(int r, vec *z, vec turn) {
    if (r == 2) {
        vec sum = z[0] + z[1];
        z[1] = z[0] - z[1], z[0] = sum;
    } else if (r == 3) {
        vec sum = z[1] + z[2], odd = swapped(z[1] - z[2]) * (turn * all(0.866025404f)),
            even = z[0] - all(0.5f) * sum;
        z[0] += sum, z[1] = even + odd, z[2] = even - odd;
    } else if (r == 4) {
        vec s0 = z[0] + z[2], d0 = z[0] - z[2], s1 = z[1] + z[3],
            d1 = swapped(z[1] - z[3]) * turn;
        z[0] = s0 + s1, z[1] = d0 + d1, z[2] = s0 - s1, z[3] = d0 - d1;
    } else {
        vec s1 = z[1] + z[4], s2 = z[2] + z[3], d1 = swapped(z[1] - z[4]) * turn,
            d2 = swapped(z[2] - z[3]) * turn;
        vec even1 = z[0] + all(0.309016994f) * s1 - all(0.809016994f) * s2,
            even2 = z[0] - all(0.809016994f) * s1 + all(0.309016994f) * s2;
        vec odd1 = all(0.951056516f) * d1 + all(0.587785252f) * d2,
            odd2 = all(0.587785252f) * d1 - all(0.951056516f) * d2;
        z[0] += s1 + s2;
        z[1] = even1 + odd1, z[4] = even1 - odd1, z[2] = even2 + odd2, z[3] = even2 - odd2;
    }
}

/* A pass of radix r: m legs of s signals. x[q + s (p + m k)] -> y[q + s (r p + k)]. `gain`: of the
 * input of a first pass, which has one signal; NULL: none. `is_last`: m is 1, and all roots are. */
INLINE void pass_of(int r, int m, int s, const float *x, const float *gain, vec *y, double sign,
                    int is_last) {
    vec turn = I * all((float)sign);
    double angle = sign * 2 * M_PI / ((double)r * m), re = 1, im = 0;
    double step_re = cos(angle), step_im = sin(angle);
    for (int p = 0; p < m; p++) {
        float wr[MAX_RADIX] = {1, (float)re}, wi[MAX_RADIX] = {0, (float)im};
        double power_re = re, power_im = im;
#pragma GCC unroll 5
        for (int k = 2; k < r; k++) {
            double next = power_re * re - power_im * im;
            power_im = power_re * im + power_im * re, power_re = next;
            wr[k] = (float)power_re, wi[k] = (float)power_im;
        }
        for (int q = 0; q < s; q++) {
            vec z[MAX_RADIX];
#pragma GCC unroll 5
            for (int k = 0; k < r; k++) {
                size_t at = (size_t)q + (size_t)s * ((size_t)p + (size_t)m * (size_t)k);
                z[k] = get(x + 4 * at);
                if (gain) z[k] *= all(gain[at]);
            }
            butterfly(r, z, turn);
            vec *to = y + (size_t)q + (size_t)s * (size_t)p * (size_t)r;
            to[0] = z[0];
#pragma GCC unroll 5
            for (int k = 1; k < r; k++)
                to[(size_t)s * (size_t)k] = is_last ? z[k] : times(z[k], wr[k], wi[k]);
        }
        double next = re * step_re - im * step_im;
        im = re * step_im + im * step_re, re = next;
    }
}

/* A function for each radix and kind of pass. */
#define PASS(R) \
    static void pass##R(int m, int s, const float *x, const float *gain, vec *y, double sign) { \
        if (gain) \
            pass_of(R, m, 1, x, gain, y, sign, 0); \
        else if (m > 1) \
            pass_of(R, m, s, x, NULL, y, sign, 0); \
        else \
            pass_of(R, 1, s, x, NULL, y, sign, 1); \
    }
PASS(2)
PASS(3)
PASS(4)
PASS(5)

static void pass(int r, int m, int s, const float *x, const float *gain, vec *y, double sign) {
    (r == 2 ? pass2 : r == 3 ? pass3 : r == 4 ? pass4 : pass5)(m, s, x, gain, y, sign);
}

static int radix_of(int n) { return n % 4 == 0 ? 4 : n % 2 == 0 ? 2 : n % 3 == 0 ? 3 : 5; }

/* Transforms x (times gain) of n points by way of a and b; returns the one that has the result. x
 * may be b. */
static const vec *transform(int n, const float *x, const float *gain, vec *a, vec *b, double sign) {
    const float *from = x;
    for (int m = n, s = 1; m > 1;) {
        int r = radix_of(m);
        m /= r;
        pass(r, m, s, from, gain, a, sign);
        s *= r, gain = NULL, from = (const float *)a;
        vec *other = a;
        a = b, b = other;
    }
    return (const vec *)from;
}

/* ---- bands ----------------------------------------------------------------------------------- */

/* The number of the last node that is heard, and -1 if none is. The last node is the end of a
 * line only. */
static int last_heard(const float *curve, int nodes, float limit) {
    int node = nodes - 2;
    while (node >= 0 && !(curve[node] > limit)) node--;
    return node;
}

static void add_band(const nv_band *b, const float *curve, int last, float *gain, vec *work[2],
                     vec *spectrum) {
    int used = b->size;
    while (used > 0 && b->node[used - 1] > last) used--;
    for (int i = 0; i < used; i++) {
        int node = b->node[i] < last ? b->node[i] : last;
        gain[i] = curve[node] + b->share[i] * (curve[node + 1] - curve[node]);
    }
    memset(gain + used, 0, (size_t)(b->size - used) * sizeof *gain);
    const vec *bins = transform(b->size, b->carrier, gain, work[0], work[1], -1);
    for (int i = 0; i < b->size; i++) spectrum[b->first + i] += bins[i] * all(b->window[i]);
}

/* ---- the two sides --------------------------------------------------------------------------- */

/* Bins 0 .. half of middle and side -> left and right, packed in place for a complex transform of
 * half points: its samples are pairs of samples. */
static void pack_sides(vec *x, const float *middle, const float *side, int half) {
    static const vec SIGN = {1, 1, -1, -1};
    double re = 1, im = 0, step_re = cos(M_PI / half), step_im = sin(M_PI / half);
    x[0] *= (vec){1, 0, 1, 0}, x[half] *= (vec){1, 0, 1, 0}; /* a real signal */
    for (int k = 0; k <= half - k; k++) {
        int l = half - k;
        vec a = __builtin_shufflevector(x[k], x[k], 0, 1, 0, 1) * all(middle[k]) +
                __builtin_shufflevector(x[k], x[k], 2, 3, 2, 3) * all(side[k]) * SIGN;
        vec b = __builtin_shufflevector(x[l], x[l], 0, 1, 0, 1) * all(middle[l]) +
                __builtin_shufflevector(x[l], x[l], 2, 3, 2, 3) * all(side[l]) * SIGN;
        b *= CONJUGATE;
        vec even = a + b, odd = swapped(times(a - b, (float)re, (float)im)) * I;
        x[k] = even + odd, x[l] = (even - odd) * CONJUGATE;
        double next = re * step_re - im * step_im;
        im = re * step_im + im * step_re, re = next;
    }
}

static void unpack(const vec *x, int frames, float *left, float *right, int taps) {
    vec scale = all(1 / (float)frames);
    for (int n = 0; n < taps; n += 2) {
        vec both = x[n / 2] * scale;
        left[n] = both[0], right[n] = both[2];
        if (n + 1 < taps) left[n + 1] = both[1], right[n + 1] = both[3];
    }
}

static float loudest(const float *x, size_t count) {
    float peak = 0;
    for (size_t i = 0; i < count; i++) peak = x[i] > peak ? x[i] : peak;
    return peak;
}

int nv_synthesise(const nv_synthesis *s, const float *curves, int rows, int nodes,
                  const float *middle, const float *side, float *left, float *right, int taps) {
    int half = s->frames / 2, most = half + 1;
    for (int i = 0; i < s->bands; i++)
        if (s->band[i].size > most) most = s->band[i].size;
    /* One piece, aligned here: glibc's aligned_alloc() uses freed memory badly. */
    char *memory = malloc((size_t)most * (3 * sizeof(vec) + sizeof(float)) + sizeof(vec));
    if (memory) {
        vec *spectrum = (vec *)(memory + -(uintptr_t)memory % sizeof(vec));
        vec *work[2] = {spectrum + most, spectrum + 2 * (size_t)most};
        float *gain = (float *)(spectrum + 3 * (size_t)most);
        memset(spectrum, 0, (size_t)(half + 1) * sizeof *spectrum);
        float limit = NV_UNHEARD * loudest(curves, (size_t)rows * (size_t)nodes);
        for (int i = 0; i < s->bands; i++) {
            const float *curve = curves + (size_t)s->band[i].curve * (size_t)nodes;
            int last = last_heard(curve, nodes, limit);
            if (last >= 0) add_band(&s->band[i], curve, last, gain, work, spectrum);
        }
        pack_sides(spectrum, middle, side, half);
        unpack(transform(half, (const float *)spectrum, NULL, work[0], work[1], 1), s->frames, left,
               right, taps);
    }
    free(memory);
    return memory ? 0 : -1;
}
