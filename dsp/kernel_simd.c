/* The kernel's inner loops in GCC's vector extensions; see kernel_simd.h. Built with -ffast-math (ARMv7 turns vector floats into
 * scalar ones without it): nothing here may test for NaN.
 *
 * The transform. Overlap-save needs, for a frame of 2P samples a = (previous, current) and a filter h of P taps, the middle P
 * samples of their product. As polynomials, with x^P = -i (the "right-angle" convolution, Nussbaumer 1981; Wefers 2015, ch. 2.5):
 *
 *     a mod (x^P + i) = previous - i current;   (c0 + c1 x^P + c2 x^2P) mod (x^P + i) = (c0 - c2) - i c1
 *
 * so the middle part c1 is minus the imaginary part of a product of P complex points, whatever wraps around lands in the real
 * part, and there is no packing of real transforms, no DC and no Nyquist case. A twist by exp(-i pi n / 2P) turns x^P = -i into
 * the cyclic x^P = 1 of an ordinary FFT.
 *
 * Order of bins. The forward transform decimates in frequency and leaves its bins scrambled, the inverse decimates in time and
 * takes them so (Gentleman & Sande 1966): products do not care, and no bit reversal is ever done. Passes of radix 4 (and one of
 * radix 2) bring the size down to `lanes` points; those lie in one vector, so `lanes` vectors are transposed and transformed
 * side by side.
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

enum { V = NV_LANES };
typedef float vec __attribute__((vector_size(NV_LANES * 4)));
typedef float vec_unaligned __attribute__((vector_size(NV_LANES * 4), aligned(4)));
#define INLINE static inline __attribute__((always_inline))

INLINE vec get(const float *p) { return *(const vec *)p; }
INLINE vec get_any(const float *p) { return (vec) * (const vec_unaligned *)p; }
INLINE void put(float *p, vec v) { *(vec *)p = v; }
INLINE void put_any(float *p, vec v) { *(vec_unaligned *)p = v; }

typedef struct {
    vec re, im;
} cvec;
INLINE cvec cget(const float *p) { return (cvec){get(p), get(p + V)}; }
INLINE void cput(float *p, cvec z) { put(p, z.re), put(p + V, z.im); }
INLINE cvec add(cvec a, cvec b) { return (cvec){a.re + b.re, a.im + b.im}; }
INLINE cvec sub(cvec a, cvec b) { return (cvec){a.re - b.re, a.im - b.im}; }
INLINE cvec mul(cvec a, cvec w) { return (cvec){a.re * w.re - a.im * w.im, a.re * w.im + a.im * w.re}; }
INLINE cvec mul_conj(cvec a, cvec w) { return (cvec){a.re * w.re + a.im * w.im, a.im * w.re - a.re * w.im}; }
INLINE cvec times_minus_i(cvec a) { return (cvec){a.im, -a.re}; }

/* ---- transforms across registers: `lanes` points, natural order --------------------------------------------------------- */

INLINE void dft4(cvec *z, int step) {
    cvec s02 = add(z[0], z[2 * step]), d02 = sub(z[0], z[2 * step]);
    cvec s13 = add(z[step], z[3 * step]), d13 = times_minus_i(sub(z[step], z[3 * step]));
    z[0] = add(s02, s13), z[step] = add(d02, d13), z[2 * step] = sub(s02, s13), z[3 * step] = sub(d02, d13);
}

#if NV_LANES == 8
INLINE void dft_lanes(cvec *z) {
    const vec h = (vec){0} + 0.70710678118654752f;
    cvec even[4], odd[4];
    for (int k = 0; k < 4; k++) even[k] = add(z[k], z[k + 4]), odd[k] = sub(z[k], z[k + 4]);
    odd[1] = (cvec){(odd[1].re + odd[1].im) * h, (odd[1].im - odd[1].re) * h};
    odd[2] = times_minus_i(odd[2]);
    odd[3] = (cvec){(odd[3].im - odd[3].re) * h, -(odd[3].re + odd[3].im) * h};
    dft4(even, 1), dft4(odd, 1);
    for (int k = 0; k < 4; k++) z[2 * k] = even[k], z[2 * k + 1] = odd[k];
}

INLINE void transpose(vec *a) {
    vec b[8], c[8];
    for (int i = 0; i < 8; i += 2) {
        b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            c[i + j] = __builtin_shufflevector(b[i + j], b[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            c[i + j + 2] = __builtin_shufflevector(b[i + j], b[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; i++) {
        a[i] = __builtin_shufflevector(c[i], c[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        a[i + 4] = __builtin_shufflevector(c[i], c[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}
#else
INLINE void dft_lanes(cvec *z) { dft4(z, 1); }

INLINE void transpose(vec *a) {
    vec b0 = __builtin_shufflevector(a[0], a[1], 0, 4, 1, 5), b1 = __builtin_shufflevector(a[0], a[1], 2, 6, 3, 7);
    vec b2 = __builtin_shufflevector(a[2], a[3], 0, 4, 1, 5), b3 = __builtin_shufflevector(a[2], a[3], 2, 6, 3, 7);
    a[0] = __builtin_shufflevector(b0, b2, 0, 1, 4, 5), a[1] = __builtin_shufflevector(b0, b2, 2, 3, 6, 7);
    a[2] = __builtin_shufflevector(b1, b3, 0, 1, 4, 5), a[3] = __builtin_shufflevector(b1, b3, 2, 3, 6, 7);
}
#endif

INLINE void transpose_complex(cvec *z) {
    vec re[V], im[V];
    for (int k = 0; k < V; k++) re[k] = z[k].re, im[k] = z[k].im;
    transpose(re), transpose(im);
    for (int k = 0; k < V; k++) z[k] = (cvec){re[k], im[k]};
}

/* ---- the steps ----------------------------------------------------------------------------------------------------------- */

static void load(const nv_fft *fft, const float *previous, const float *current, float *z, int from, int to) {
    for (int i = from; i < to; i++) { /* (previous - i current) * twist */
        vec lo = get_any(previous + i * V), hi = get_any(current + i * V);
        cvec w = cget(fft->twist + 2 * V * i);
        cput(z + 2 * V * i, (cvec){lo * w.re + hi * w.im, lo * w.im - hi * w.re});
    }
}

static void unload(const nv_fft *fft, const float *z, float *out, int from, int to) {
    for (int i = from; i < to; i++) { /* -Im(z * conj(twist)) */
        cvec w = cget(fft->twist + 2 * V * i), c = cget(z + 2 * V * i);
        put_any(out + i * V, c.re * w.im - c.im * w.re);
    }
}

static void forward2(const float *twiddles, float *z, int quarter, int from, int to) {
    for (int b = from; b < to; b++) {
        float *p = z + 2 * V * b, *q = p + 2 * V * quarter;
        cvec a = cget(p), c = cget(q);
        cput(p, add(a, c));
        cput(q, mul(sub(a, c), cget(twiddles + 2 * V * b)));
    }
}

static void inverse2(const float *twiddles, float *z, int quarter, int from, int to) {
    for (int b = from; b < to; b++) {
        float *p = z + 2 * V * b, *q = p + 2 * V * quarter;
        cvec a = cget(p), c = mul_conj(cget(q), cget(twiddles + 2 * V * b));
        cput(p, add(a, c));
        cput(q, sub(a, c));
    }
}

/* Butterflies are numbered stretch by stretch; `quarter` vectors lie between a butterfly's legs and so many are in a stretch. */
static void forward(const nv_fft *fft, int pass, float *z, int from, int to) {
    int radix = fft->pass[pass].radix, quarter = fft->pass[pass].span / radix / V;
    const float *twiddles = fft->pass[pass].twiddles;
    if (radix == 2) { /* always the first pass: one stretch */
        forward2(twiddles, z, quarter, from, to);
        return;
    }
    int leg = 2 * V * quarter;
    for (int stretch = from / quarter, at = from % quarter; from < to; stretch++, at = 0) {
        int count = quarter - at < to - from ? quarter - at : to - from;
        float *p = z + 2 * V * (stretch * 4 * quarter + at);
        const float *w = twiddles + 6 * V * at;
        from += count;
        for (; count > 0; count--, p += 2 * V, w += 6 * V) {
            cvec a = cget(p), b = cget(p + leg), c = cget(p + 2 * leg), d = cget(p + 3 * leg);
            cvec s02 = add(a, c), d02 = sub(a, c), s13 = add(b, d), d13 = times_minus_i(sub(b, d));
            cput(p, add(s02, s13));
            cput(p + leg, mul(add(d02, d13), cget(w)));
            cput(p + 2 * leg, mul(sub(s02, s13), cget(w + 2 * V)));
            cput(p + 3 * leg, mul(sub(d02, d13), cget(w + 4 * V)));
        }
    }
}

static void inverse(const nv_fft *fft, int pass, float *z, int from, int to) {
    int radix = fft->pass[pass].radix, quarter = fft->pass[pass].span / radix / V;
    const float *twiddles = fft->pass[pass].twiddles;
    if (radix == 2) {
        inverse2(twiddles, z, quarter, from, to);
        return;
    }
    int leg = 2 * V * quarter;
    for (int stretch = from / quarter, at = from % quarter; from < to; stretch++, at = 0) {
        int count = quarter - at < to - from ? quarter - at : to - from;
        float *p = z + 2 * V * (stretch * 4 * quarter + at);
        const float *w = twiddles + 6 * V * at;
        from += count;
        for (; count > 0; count--, p += 2 * V, w += 6 * V) {
            cvec a = cget(p), b = mul_conj(cget(p + leg), cget(w));
            cvec c = mul_conj(cget(p + 2 * leg), cget(w + 2 * V)), d = mul_conj(cget(p + 3 * leg), cget(w + 4 * V));
            cvec s02 = add(a, c), d02 = sub(a, c), s13 = add(b, d), d13 = times_minus_i(sub(b, d));
            cput(p, add(s02, s13));
            cput(p + leg, sub(d02, d13));
            cput(p + 2 * leg, sub(s02, s13));
            cput(p + 3 * leg, add(d02, d13));
        }
    }
}

static void to_spectrum(const float *z, float *spectrum, size_t pair_stride, int from, int to) {
    for (int group = from; group < to; group++) {
        cvec c[V];
        const float *p = z + (size_t)2 * V * V * group;
        float *out = spectrum + pair_stride * (V / 2) * group;
        for (int k = 0; k < V; k++) c[k] = cget(p + 2 * V * k);
        transpose_complex(c);
        dft_lanes(c);
        for (int k = 0; k < V; k += 2, out += pair_stride) cput(out, c[k]), cput(out + 2 * V, c[k + 1]);
    }
}

static void from_spectrum(float *z, int from, int to) {
    for (int group = from; group < to; group++) {
        cvec c[V];
        float *p = z + (size_t)2 * V * V * group;
        /* The inverse DFT is the forward one with real and imaginary parts exchanged, before and after. */
        for (int k = 0; k < V; k++) c[k] = (cvec){get(p + 2 * V * k + V), get(p + 2 * V * k)};
        dft_lanes(c);
        transpose_complex(c);
        for (int k = 0; k < V; k++) cput(p + 2 * V * k, (cvec){c[k].im, c[k].re});
    }
}

/* Sums of products for a pair of vectors: re*re, im*im, re*im, im*re apart, so that each is one multiply-add. */
typedef struct {
    vec rr0, ii0, ri0, ir0, rr1, ii1, ri1, ir1;
} sums;

INLINE void accumulate(sums *s, const float *x, const float *h, int partitions) {
    sums t = *s;
    for (const float *end = h + (size_t)partitions * 4 * V; h < end; x += 4 * V, h += 4 * V) {
        cvec a = cget(x), b = cget(h);
        t.rr0 += a.re * b.re, t.ii0 += a.im * b.im, t.ri0 += a.re * b.im, t.ir0 += a.im * b.re;
        a = cget(x + 2 * V), b = cget(h + 2 * V);
        t.rr1 += a.re * b.re, t.ii1 += a.im * b.im, t.ri1 += a.re * b.im, t.ir1 += a.im * b.re;
    }
    *s = t;
}

static void multiply(const nv_path *paths, int count, float *z, int from, int to) {
    for (int pair = from; pair < to; pair++) {
        sums s = {{0}};
        for (const nv_path *p = paths; p < paths + count; p++) {
            const float *x = p->input + (size_t)pair * p->ring_partitions * 4 * V;
            const float *h = p->filter + (size_t)pair * p->partitions * 4 * V;
            int to_end = p->ring_partitions - p->newest, first = p->partitions < to_end ? p->partitions : to_end;
            accumulate(&s, x + (size_t)p->newest * 4 * V, h, first);
            accumulate(&s, x, h + (size_t)first * 4 * V, p->partitions - first);
        }
        float *out = z + (size_t)4 * V * pair;
        cput(out, (cvec){s.rr0 - s.ii0, s.ri0 + s.ir0});
        cput(out + 2 * V, (cvec){s.rr1 - s.ii1, s.ri1 + s.ir1});
    }
}

static void add_output(float *out, const float *old, const float *fresh, float g0, float dg, int frames) {
    if (!fresh) {
        for (int i = 0; i < frames; i += V) put_any(out + i, get_any(out + i) + get_any(old + i));
        return;
    }
    vec g, step = (vec){0} + V * dg;
    for (int k = 0; k < V; k++) g[k] = g0 + (float)k * dg;
    for (int i = 0; i < frames; i += V, g += step) {
        vec a = get_any(old + i), b = get_any(fresh + i);
        put_any(out + i, get_any(out + i) + a + g * (b - a));
    }
}

const nv_simd NV_SIMD_TABLE = {
    .name = NV_SIMD_NAME,
    .lanes = V,
    .load = load,
    .forward = forward,
    .to_spectrum = to_spectrum,
    .multiply = multiply,
    .from_spectrum = from_spectrum,
    .inverse = inverse,
    .unload = unload,
    .add = add_output,
};
