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

#include "kernel_vectors.h"

/* ---- the passes ------------------------------------------------------------------------------ */

static void forward_first(const nv_fft *fft, const float *previous, const float *current, float *z,
                          int from, int to) {
    int leg = fft->points / fft->pass[0].radix; /* in frames; twice that in floats of z */
    const float *roots = fft->pass[0].roots;
    if (fft->pass[0].radix == 2) {
        cvec r = call(roots);
        for (int i = from * V; i < to * V; i += V) {
            cvec a = {get_any(previous + i), get_any(current + i)},
                 b = {get_any(previous + i + leg), get_any(current + i + leg)};
            split(&a, &b, r);
            cput(z + 2 * i, a), cput(z + 2 * (i + leg), b);
        }
        return;
    }
    cvec r = call(roots), r2 = call(roots + 2), r3 = call(roots + 4);
    for (int i = from * V; i < to * V; i += V) {
        cvec c[4];
        for (int k = 0; k < 4; k++)
            c[k] = (cvec){get_any(previous + i + k * leg), get_any(current + i + k * leg)};
        split4(c, r, r2, r3);
        for (int k = 0; k < 4; k++) cput(z + 2 * (i + k * leg), c[k]);
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

static void to_spectrum(const nv_fft *fft, const float *z, float *spectrum, size_t pair_stride,
                        size_t again, int from, int to) {
    const float *roots = fft->group_roots + GROUP_ROOTS * from, *end = z + 8 * V * to;
    float *out = spectrum + pair_stride * 2 * (size_t)from;
    int last = fft->last;
    for (z += 8 * V * from; z < end; z += 8 * V, roots += GROUP_ROOTS, out += 2 * pair_stride) {
        cvec c[4];
        for (int k = 0; k < 4; k++) c[k] = cget(z + 2 * V * k);
        if (last) split4(c, call(roots), call(roots + 2), call(roots + 4));
        split_lanes(c, roots + 8);
        cput(out, c[0]), cput(out + 2 * V, c[1]), cput(out + pair_stride, c[2]),
            cput(out + pair_stride + 2 * V, c[3]);
        if (!again) continue;
        float *copy = out + again;
        cput(copy, c[0]), cput(copy + 2 * V, c[1]), cput(copy + pair_stride, c[2]),
            cput(copy + pair_stride + 2 * V, c[3]);
    }
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

/* For one output, sums of re*re, im*im, re*im and im*re are separate: eight independent chains of
 * multiply-adds. */
typedef struct {
    vec rr[2], ii[2], ri[2], ir[2];
} sums;

INLINE void product(sums *s, const float **x, const float **h) {
    for (int k = 0; k < 2; k++) {
        cvec a = cnext(x);
#ifdef __FMA__
        multiply_add(&s->rr[k], a.re, *h), multiply_add(&s->ii[k], a.im, *h + V);
        multiply_add(&s->ri[k], a.re, *h + V), multiply_add(&s->ir[k], a.im, *h);
        *h += 2 * V;
#else
        cvec b = cnext(h);
        s->rr[k] += a.re * b.re, s->ii[k] += a.im * b.im, s->ri[k] += a.re * b.im,
            s->ir[k] += a.im * b.re;
#endif
    }
}

INLINE void first_product(sums *s, const float *x, const float *h) {
    for (int k = 0; k < 2; k++, x += 2 * V, h += 2 * V) {
        cvec a = cget(x), b = cget(h);
        s->rr[k] = a.re * b.re, s->ii[k] = a.im * b.im, s->ri[k] = a.re * b.im,
        s->ir[k] = a.im * b.re;
    }
}

INLINE void accumulate(sums *s, const float *x, const float *h, int partitions) {
    sums t = *s;
    for (; partitions >= 8; partitions -= 8)
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) product(&t, &x, &h);
    if (partitions & 4)
        product(&t, &x, &h), product(&t, &x, &h), product(&t, &x, &h), product(&t, &x, &h);
    if (partitions & 2) product(&t, &x, &h), product(&t, &x, &h);
    if (partitions & 1) product(&t, &x, &h);
    *s = t;
}

/* For two outputs with the same input, its spectra are read once. */
typedef struct {
    cvec left[2], right[2];
} sums2;

INLINE void product2(sums2 *s, const float **x, const float **h, const float **g) {
    for (int k = 0; k < 2; k++) {
        cvec a = cnext(x);
#ifdef __FMA__
        multiply_add(&s->left[k].re, a.re, *h), multiply_add(&s->left[k].im, a.re, *h + V);
        multiply_add(&s->right[k].re, a.re, *g), multiply_add(&s->right[k].im, a.re, *g + V);
        multiply_subtract(&s->left[k].re, a.im, *h + V), multiply_add(&s->left[k].im, a.im, *h);
        multiply_subtract(&s->right[k].re, a.im, *g + V), multiply_add(&s->right[k].im, a.im, *g);
        *h += 2 * V, *g += 2 * V;
#else
        cvec b = cnext(h), c = cnext(g);
        s->left[k].re += a.re * b.re, s->left[k].im += a.re * b.im, s->right[k].re += a.re * c.re,
            s->right[k].im += a.re * c.im;
        s->left[k].re -= a.im * b.im, s->left[k].im += a.im * b.re, s->right[k].re -= a.im * c.im,
            s->right[k].im += a.im * c.re;
#endif
    }
}

INLINE void accumulate2(sums2 *s, const float *x, const float *h, const float *g, int partitions) {
    sums2 t = *s;
    for (; partitions >= 2; partitions -= 2) product2(&t, &x, &h, &g), product2(&t, &x, &h, &g);
    if (partitions) product2(&t, &x, &h, &g);
    *s = t;
}

static void multiply_one(const nv_run *runs, const nv_run *end, float *z, int more, int from,
                         int to) {
    for (int pair = from; pair < to; pair++) {
        const nv_run *r = runs;
        const float *x = r->input + (size_t)pair * r->input_stride,
                    *h = r->filter[0] + (size_t)pair * r->filter_stride;
        float *out = z + (size_t)4 * V * pair;
        sums s;
        if (more)
            for (int k = 0; k < 2; k++)
                s.rr[k] = get(out + 2 * V * k), s.ri[k] = get(out + 2 * V * k + V),
                s.ii[k] = s.ir[k] = all(0);
        else
            first_product(&s, x, h);
        accumulate(&s, x + !more * 4 * V, h + !more * 4 * V, r->partitions - !more);
        for (r++; r < end; r++)
            accumulate(&s, r->input + (size_t)pair * r->input_stride,
                       r->filter[0] + (size_t)pair * r->filter_stride, r->partitions);
        for (int k = 0; k < 2; k++)
            cput(out + 2 * V * k, (cvec){s.rr[k] - s.ii[k], s.ri[k] + s.ir[k]});
    }
}

static void multiply_both(const nv_run *runs, const nv_run *end, float *const *z, int more,
                          int from, int to) {
    for (int pair = from; pair < to; pair++) {
        float *left = z[0] + (size_t)4 * V * pair, *right = z[1] + (size_t)4 * V * pair;
        sums2 s = {0};
        if (more) s = (sums2){{cget(left), cget(left + 2 * V)}, {cget(right), cget(right + 2 * V)}};
        for (const nv_run *r = runs; r < end; r++) {
            size_t at = (size_t)pair * r->filter_stride;
            accumulate2(&s, r->input + (size_t)pair * r->input_stride, r->filter[0] + at,
                        r->filter[1] + at, r->partitions);
        }
        cput(left, s.left[0]), cput(left + 2 * V, s.left[1]), cput(right, s.right[0]),
            cput(right + 2 * V, s.right[1]);
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

static void scale(float *out, const float *block, const float *gain, int pieces) {
    vec ramp;
    for (int k = 0; k < V; k++) ramp[k] = (float)k / NV_FADE_PIECE;
    for (; pieces > 0; pieces--, gain++) {
        float rise = gain[1] - gain[0];
        vec g = all(gain[0]) + ramp * all(rise), step = all(rise * V / NV_FADE_PIECE);
        for (int i = 0; i < NV_FADE_PIECE; i += V, g += step, out += V, block += V)
            put_any(out, g * get_any(block));
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
    .scale = scale,
    .subtract = subtract,
    .scale_finite = scale_finite,
};
