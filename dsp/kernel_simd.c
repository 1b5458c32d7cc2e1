/* The kernel's inner loops in GCC's vector extensions; see kernel_simd.h. ARMv7 is compiled with
 * -ffast-math (without it GCC splits float vectors into scalars), so this file must not test for
 * NaN.
 *
 * The transform. Overlap-save needs, for a frame of 2P samples a = (previous, current) and a filter
 * h of P taps, the middle P samples of their product. As polynomials, with x^P = i (the
 * "right-angle" convolution, Nussbaumer 1981; Wefers 2015, ch. 2.5):
 *
 *     a mod (x^P - i) = previous + i current
 *     (c0 + c1 x^P + c2 x^2P) mod (x^P - i) = (c0 - c2) + i c1
 *
 * so the middle part c1 is the imaginary part of a product of P complex points; circular aliasing
 * goes to the real part. Real transforms need no packing, and DC and Nyquist are no special cases.
 * The residues of `current` serve two frames: this one, times i, and the next, where it is
 * `previous`. So P real samples are transformed at a time.
 *
 * The residues at all P roots of x^P = i are computed by a tree (Fiduccia 1972): a residue mod x^S
 * - r^4 splits into four,
 *
 *     a0 + a1 x^q + a2 x^2q + a3 x^3q  mod  x^q - w  =  (a0 + w^2 a2) + w (a1 + w^2 a3)
 *     with q = S/4 and w = r, ir, -r, -ir
 *
 * with one root r for the complete node. The transform needs no twist before it. The first pass
 * reads real input and keeps its roots in registers; later passes load one set of roots for each
 * node. The leaves of the tree stay in scrambled order, which products do not depend on.
 *
 * A node of `lanes` points fits in one vector. With eight lanes, two nodes exchange halves for one
 * more split. Then four vectors are transposed, and the last passes process one node in each lane.
 * The inverse is the same tree upwards; its last pass computes imaginary parts only.
 */
#include "kernel_simd.h"

#ifndef NV_LANES
#define NV_LANES 4
#endif
#ifndef NV_SIMD_TABLE
#define NV_SIMD_TABLE nv_simd_baseline
#endif
#ifndef NV_SIMD_NAME
#if defined(__aarch64__) || defined(__ARM_NEON)
#define NV_SIMD_NAME "neon"
#elif defined(__SSE2__)
#define NV_SIMD_NAME "sse2"
#else
#define NV_SIMD_NAME "scalar"
#endif
#endif

#include "dense_vectors.h"
#include "kernel_vectors.h"
#include "latefield_vectors.h"
#include "movement_vectors.h"
#include "pulses_vectors.h"
#include "shimmer_vectors.h"
#include "synthesis_vectors.h"

/* ---- the passes ------------------------------------------------------------------------------ */

static void forward_first(const nv_fft *fft, const float *frames, float *z, int from, int to) {
    int leg = fft->points / fft->pass[0].radix; /* in frames; twice that in floats of z */
    const float *roots = fft->pass[0].roots;
    if (fft->pass[0].radix == 2) {
        cvec r = call(roots);
        for (int i = from * V; i < to * V; i += V) {
            vec a = get_any(frames + i), b = get_any(frames + i + leg);
            cvec t = {b * r.re, b * r.im};
            cput(z + 2 * i, (cvec){a + t.re, t.im});
            cput(z + 2 * (i + leg), (cvec){a - t.re, -t.im});
        }
        return;
    }
    cvec r = call(roots), r2 = call(roots + 2), r3 = call(roots + 4);
    for (int i = from * V; i < to * V; i += V) {
        vec x[4];
        for (int k = 0; k < 4; k++) x[k] = get_any(frames + i + k * leg);
        cvec b = {x[1] * r.re, x[1] * r.im}, c = {x[2] * r2.re, x[2] * r2.im},
             d = {x[3] * r3.re, x[3] * r3.im};
        cvec s0 = {x[0] + c.re, c.im}, d0 = {x[0] - c.re, -c.im}, s1 = add(b, d), d1 = sub(b, d);
        cput(z + 2 * i, add(s0, s1)), cput(z + 2 * (i + 2 * leg), sub(s0, s1));
        cput(z + 2 * (i + leg), (cvec){d0.re - d1.im, d0.im + d1.re});
        cput(z + 2 * (i + 3 * leg), (cvec){d0.re + d1.im, d0.im - d1.re});
    }
}

/* A middle pass has radix 4. Butterflies are numbered by node; each leg has `quarter` vectors. */
static void forward(const nv_fft *fft, int pass, float *z, int from, int to) {
    int leg = fft->pass[pass].span / 2, quarter = leg / 2 / V;
    for (int node = from / quarter, at = from % quarter; from < to; node++, at = 0) {
        int count = quarter - at < to - from ? quarter - at : to - from;
        const float *roots = fft->pass[pass].roots + 6 * node;
        cvec r = call(roots), r2 = call(roots + 2), r3 = call(roots + 4);
        float *p = z + 2 * V * (node * 4 * quarter + at), *end = p + 2 * V * count;
        from += count;
        for (; p < end; p += 2 * V) {
            cvec c[4];
            for (int k = 0; k < 4; k++) c[k] = cget(p + k * leg);
            split4(c, r, r2, r3);
            for (int k = 0; k < 4; k++) cput(p + k * leg, c[k]);
        }
    }
}

/* Where vector k of a group of four is. */
INLINE size_t place(int k, size_t stride) {
    return (k & 1 ? 2 * (size_t)V : 0) + (k & 2 ? stride : 0);
}

/* In place: `before` is `hop`, which has no gaps; so it is in all jobs without a fade. */
INLINE void to_spectrum_at(const nv_fft *fft, const float *z, nv_target t, int from, int to,
                           int in_place) {
    const float *roots = fft->group_roots + GROUP_ROOTS * from, *end = z + 8 * V * to;
    size_t first = 2 * (size_t)from;
    float *hop = t.hop + t.hop_stride * first,
          *window = t.window ? t.window + t.window_stride * first : NULL;
    const float *before = t.before ? t.before + t.before_stride * first : NULL;
    int last = fft->last;
    if (in_place) t.hop_stride = 4 * V;
    for (z += 8 * V * from; z < end; z += 8 * V, roots += GROUP_ROOTS) {
        cvec c[4];
        for (int k = 0; k < 4; k++) c[k] = cget(z + 2 * V * k);
        if (last) split4(c, call(roots), call(roots + 2), call(roots + 4));
        split_lanes(c, roots + 8);
        for (int k = 0; k < 4; k++) {
            if (in_place || window) {
                cvec w = {-c[k].im, c[k].re};
                if (in_place)
                    w = add(w, cget(hop + place(k, 4 * V)));
                else if (before)
                    w = add(w, cget(before + place(k, t.before_stride)));
                cput(window + place(k, t.window_stride), w);
                if (t.again) cput(window + t.again + place(k, t.window_stride), w);
            }
            cput(hop + place(k, t.hop_stride), c[k]);
        }
        if (in_place || window) window += 2 * t.window_stride;
        hop += 2 * t.hop_stride;
        if (!in_place && before) before += 2 * t.before_stride;
    }
}

static void to_spectrum(const nv_fft *fft, const float *z, const nv_target *target, int from,
                        int to) {
    if (target->before == target->hop && target->window)
        to_spectrum_at(fft, z, *target, from, to, 1);
    else
        to_spectrum_at(fft, z, *target, from, to, 0);
}

static void from_spectrum(const nv_fft *fft, float *z, int from, int to) {
    const float *roots = fft->group_roots + GROUP_ROOTS * from, *end = z + 8 * V * to;
    int last = fft->last;
    for (z += 8 * V * from; z < end; z += 8 * V, roots += GROUP_ROOTS) {
        cvec c[4];
        for (int k = 0; k < 4; k++) c[k] = cget(z + 2 * V * k);
        join_lanes(c, roots + 8);
        if (last) join4(c, call(roots), call(roots + 2), call(roots + 4));
        for (int k = 0; k < 4; k++) cput(z + 2 * V * k, c[k]);
    }
}

static void inverse(const nv_fft *fft, int pass, float *z, int from, int to) {
    int leg = fft->pass[pass].span / 2, quarter = leg / 2 / V;
    for (int node = from / quarter, at = from % quarter; from < to; node++, at = 0) {
        int count = quarter - at < to - from ? quarter - at : to - from;
        const float *roots = fft->pass[pass].roots + 6 * node;
        cvec r = call(roots), r2 = call(roots + 2), r3 = call(roots + 4);
        float *p = z + 2 * V * (node * 4 * quarter + at), *end = p + 2 * V * count;
        from += count;
        for (; p < end; p += 2 * V) {
            cvec c[4];
            for (int k = 0; k < 4; k++) c[k] = cget(p + k * leg);
            join4(c, r, r2, r3);
            for (int k = 0; k < 4; k++) cput(p + k * leg, c[k]);
        }
    }
}

static void inverse_last(const nv_fft *fft, const float *z, float *out, int from, int to) {
    int leg = fft->points / fft->pass[0].radix;
    const float *roots = fft->pass[0].roots;
    if (fft->pass[0].radix == 2) {
        cvec r = call(roots);
        for (int i = from * V; i < to * V; i += V) {
            cvec a = cget(z + 2 * i), b = cget(z + 2 * (i + leg));
            put_any(out + i, a.im + b.im), put_any(out + i + leg, mul_conj_im(sub(a, b), r));
        }
        return;
    }
    cvec r = call(roots), r2 = call(roots + 2), r3 = call(roots + 4);
    for (int i = from * V; i < to * V; i += V) {
        const float *p = z + 2 * i;
        cvec a = cget(p), b = cget(p + 2 * leg), c = cget(p + 4 * leg), d = cget(p + 6 * leg);
        cvec s0 = add(a, c), s1 = sub(a, c), d0 = add(b, d), d1 = sub(b, d);
        put_any(out + i, s0.im + d0.im);
        put_any(out + i + leg, mul_conj_im((cvec){s1.re + d1.im, s1.im - d1.re}, r));
        put_any(out + i + 2 * leg, mul_conj_im(sub(s0, d0), r2));
        put_any(out + i + 3 * leg, mul_conj_im((cvec){s1.re - d1.im, s1.im + d1.re}, r3));
    }
}

/* ---- multiply-accumulate: half of the work --------------------------------------------------- */

#ifdef __FMA__
/* sum += a * b[], sum -= a * b[]. The filter is a memory operand: GCC would load it first, which
 * makes sixteen instructions of twelve, and the long stages are memory-bound. */
INLINE void multiply_add(vec *sum, vec a, const float *b) {
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(*sum) : "x"(a), "m"(*(const vec *)b));
}
INLINE void multiply_subtract(vec *sum, vec a, const float *b) {
    __asm__("vfnmadd231ps %2, %1, %0" : "+x"(*sum) : "x"(a), "m"(*(const vec *)b));
}
#endif

/* Two spectra or two outputs at a time, of two vectors each: eight sums, each with its own chain of
 * multiply-adds. */
typedef struct {
    cvec one[2], other[2];
} sums;

/* sum[] += x[] * h[] */
INLINE void product(cvec *sum, const float **x, const float **h) {
#ifdef __FMA__
    cvec a[2] = {cnext(x), cnext(x)};
    for (int k = 0; k < 2; k++)
        multiply_add(&sum[k].re, a[k].re, *h + 2 * V * k),
            multiply_add(&sum[k].im, a[k].re, *h + 2 * V * k + V);
    for (int k = 0; k < 2; k++)
        multiply_subtract(&sum[k].re, a[k].im, *h + 2 * V * k + V),
            multiply_add(&sum[k].im, a[k].im, *h + 2 * V * k);
    *h += 4 * V;
#else
    for (int k = 0; k < 2; k++) {
        cvec a = cnext(x), b = cnext(h);
        sum[k].re += a.re * b.re, sum[k].im += a.re * b.im;
        sum[k].re -= a.im * b.im, sum[k].im += a.im * b.re;
    }
#endif
}

INLINE void accumulate(sums *s, const nv_run *r, int pair) {
    const float *x = r->input + (size_t)pair * r->input_stride,
                *h = r->filter[0] + (size_t)pair * r->filter_stride, *y = x + r->input_stride,
                *g = h + r->filter_stride;
    sums t = *s;
    int partitions = r->partitions;
    if ((partitions -= 4) >= 0) /* below zero the low bits stay the same */
        do
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) product(t.one, &x, &h), product(t.other, &y, &g);
        while ((partitions -= 4) >= 0);
    if (partitions & 2)
        product(t.one, &x, &h), product(t.other, &y, &g), product(t.one, &x, &h),
            product(t.other, &y, &g);
    if (partitions & 1) product(t.one, &x, &h), product(t.other, &y, &g);
    *s = t;
}

/* For two outputs with the same input, its spectra are read once. */
INLINE void product2(sums *s, const float **x, const float **h, const float **g) {
    for (int k = 0; k < 2; k++) {
        cvec a = cnext(x), *left = &s->one[k], *right = &s->other[k];
#ifdef __FMA__
        multiply_add(&left->re, a.re, *h), multiply_add(&left->im, a.re, *h + V);
        multiply_add(&right->re, a.re, *g), multiply_add(&right->im, a.re, *g + V);
        multiply_subtract(&left->re, a.im, *h + V), multiply_add(&left->im, a.im, *h);
        multiply_subtract(&right->re, a.im, *g + V), multiply_add(&right->im, a.im, *g);
        *h += 2 * V, *g += 2 * V;
#else
        cvec b = cnext(h), c = cnext(g);
        left->re += a.re * b.re, left->im += a.re * b.im, right->re += a.re * c.re,
            right->im += a.re * c.im;
        left->re -= a.im * b.im, left->im += a.im * b.re, right->re -= a.im * c.im,
            right->im += a.im * c.re;
#endif
    }
}

INLINE void accumulate2(sums *s, const float *x, const float *h, const float *g, int partitions) {
    sums t = *s;
    for (; partitions >= 2; partitions -= 2) product2(&t, &x, &h, &g), product2(&t, &x, &h, &g);
    if (partitions) product2(&t, &x, &h, &g);
    *s = t;
}

INLINE sums sums_from(const float *one, const float *other, int more) {
    if (!more) return (sums){0};
    return (sums){{cget(one), cget(one + 2 * V)}, {cget(other), cget(other + 2 * V)}};
}
INLINE void put_sums(float *one, float *other, const sums *s) {
    cput(one, s->one[0]), cput(one + 2 * V, s->one[1]);
    cput(other, s->other[0]), cput(other + 2 * V, s->other[1]);
}

static void multiply_one(const nv_run *runs, const nv_run *end, float *z, int more, int from,
                         int to) {
    for (int pair = from; pair < to; pair += 2) {
        float *out = z + (size_t)4 * V * pair;
        sums s = sums_from(out, out + 4 * V, more);
        for (const nv_run *r = runs; r < end; r++) accumulate(&s, r, pair);
        put_sums(out, out + 4 * V, &s);
    }
}

static void multiply_both(const nv_run *runs, const nv_run *end, float *const *z, int more,
                          int from, int to) {
    for (int pair = from; pair < to; pair++) {
        size_t at = (size_t)4 * V * pair;
        sums s = sums_from(z[0] + at, z[1] + at, more);
        for (const nv_run *r = runs; r < end; r++) {
            size_t filter = (size_t)pair * r->filter_stride;
            accumulate2(&s, r->input + (size_t)pair * r->input_stride, r->filter[0] + filter,
                        r->filter[1] + filter, r->partitions);
        }
        put_sums(z[0] + at, z[1] + at, &s);
    }
}

static void multiply(const nv_run *runs, int count, int outputs, float *const *z, int more,
                     int from, int to) {
    if (outputs == 1)
        multiply_one(runs, runs + count, z[0], more, from, to);
    else
        multiply_both(runs, runs + count, z, more, from, to);
}

/* ---- output ---------------------------------------------------------------------------------- */

static void add_block(float *out, const float *block, int frames) {
#pragma GCC unroll 4
    for (int i = 0; i < frames; i += V) put_any(out + i, get_any(out + i) + get(block + i));
}

static void add_faded(float *out, const float *old, const float *fresh, const float *gain,
                      int pieces) {
    vec ramp;
    for (int k = 0; k < V; k++) ramp[k] = (float)k / NV_FADE_PIECE;
    for (; pieces > 0; pieces--, gain++) {
        float rise = gain[1] - gain[0];
        vec g = all(gain[0]) + ramp * all(rise), step = all(rise * V / NV_FADE_PIECE);
        for (int i = 0; i < NV_FADE_PIECE; i += V, g += step, out += V, fresh += V) {
            vec sum = get_any(out), a = sum;
            if (old) a = get(old), sum += a, old += V;
            put_any(out, sum + g * (get(fresh) - a));
        }
    }
}

static void share(float *rising, float *falling, const float *block, const float *gain,
                  int pieces) {
    vec ramp;
    for (int k = 0; k < V; k++) ramp[k] = (float)k / NV_FADE_PIECE;
    for (; pieces > 0; pieces--, gain++) {
        float rise = gain[1] - gain[0];
        vec g = all(gain[0]) + ramp * all(rise), step = all(rise * V / NV_FADE_PIECE);
        for (int i = 0; i < NV_FADE_PIECE; i += V, g += step) {
            vec x = get_any(block), y = g * x;
            put_any(rising, y), put_any(falling, x - y);
            block += V, rising += V, falling += V;
        }
    }
}

static void subtract(float *out, const float *a, const float *b, int frames) {
    for (int i = 0; i < frames; i += V) {
        vec x = get_any(a + i);
        put_any(out + i, b ? x - get_any(b + i) : x);
    }
}

/* Tests bits, because -ffast-math has no NaN. */
static int scale_finite(float *out, const float *in, float factor, int frames) {
    typedef int ivec __attribute__((vector_size(NV_LANES * 4)));
    ivec wrong = {0};
    int i = 0;
    for (; i + V <= frames; i += V) {
        vec x = get_any(in + i);
        wrong |= ((ivec)x & 0x7f800000) == 0x7f800000;
        put_any(out + i, x * all(factor));
    }
    int any = 0;
    for (int k = 0; k < V; k++) any |= wrong[k];
    for (; i < frames; i++) {
        int bits;
        __builtin_memcpy(&bits, in + i, sizeof bits);
        any |= (bits & 0x7f800000) == 0x7f800000;
        out[i] = in[i] * factor;
    }
    return !any;
}

static float energy(const float *in, int frames) {
    vec squares[2] = {{0}};
    for (; frames >= NV_ENERGY_PIECE; frames -= NV_ENERGY_PIECE, in += NV_ENERGY_PIECE)
#pragma GCC unroll 16
        for (int i = 0; i < NV_ENERGY_PIECE / V; i++) {
            vec x = get_any(in + i * V);
            squares[i & 1] += x * x;
        }
    vec both = squares[0] + squares[1];
    float sum = 0;
    for (int k = 0; k < V; k++) sum += both[k];
    for (; frames > 0; frames--, in++) sum += *in * *in;
    return sum;
}

const nv_simd NV_SIMD_TABLE = {
    .name = NV_SIMD_NAME,
    .lanes = V,
    .forward_first = forward_first,
    .forward = forward,
    .to_spectrum = to_spectrum,
    .multiply = multiply,
    .from_spectrum = from_spectrum,
    .inverse = inverse,
    .inverse_last = inverse_last,
    .add = add_block,
    .add_faded = add_faded,
    .share = share,
    .subtract = subtract,
    .scale_finite = scale_finite,
    .energy = energy,
    .late_lines = late_lines,
    .late_level = late_level,
    .late_diffuse = late_diffuse,
    .delayed = delayed,
    .shimmer_read = shimmer_read,
    .shimmer_filter = shimmer_filter,
    .shimmer_turn = shimmer_turn,
    .find_curves = find_curves,
    .add_band = add_band,
    .make_samples = make_samples,
    .four_pulses = four_pulses,
    .powers = powers,
    .decibels = decibels,
    .weighted_sums = weighted_sums,
    .dense_sums = dense_sums,
};
