/* Vectors of NV_LANES floats, and the butterflies of the transform on them: the part of
 * kernel_simd.c below its passes. Only that file includes this one, once for each instruction set.
 */
#ifndef NV_KERNEL_VECTORS_H
#define NV_KERNEL_VECTORS_H
#include "kernel_simd.h"

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
#if defined(__arm__) && defined(__ARM_NEON)
/* GCC splits a load with an offset into two loads of half a vector. */
INLINE vec next(const float **p) {
    vec v;
    __asm__("vld1.32 {%e0-%f0}, [%1:128]!" : "=w"(v), "+r"(*p) : "m"(*(const vec *)*p));
    return v;
}
INLINE void put_next(float **p, vec v) {
    __asm__("vst1.32 {%e2-%f2}, [%1:128]!" : "=m"(*(vec *)*p), "+r"(*p) : "w"(v));
}
#else
INLINE vec next(const float **p) {
    vec v = get(*p);
    *p += V;
    return v;
}
INLINE void put_next(float **p, vec v) { put(*p, v), *p += V; }
#endif
INLINE cvec cnext(const float **p) {
    vec re = next(p), im = next(p);
    return (cvec){re, im};
}
INLINE cvec cget(const float *p) { return cnext(&p); }
INLINE void cput(float *p, cvec z) { put_next(&p, z.re), put_next(&p, z.im); }
INLINE cvec add(cvec a, cvec b) { return (cvec){a.re + b.re, a.im + b.im}; }
INLINE cvec sub(cvec a, cvec b) { return (cvec){a.re - b.re, a.im - b.im}; }
/* ---- butterflies ----------------------------------------------------------------------------- */

INLINE vec all(float x) { return (vec){0} + x; }
INLINE cvec call(const float *w) { return (cvec){all(w[0]), all(w[1])}; }
INLINE cvec mul(cvec a, cvec w) {
    return (cvec){a.re * w.re - a.im * w.im, a.re * w.im + a.im * w.re};
}
INLINE cvec mul_conj(cvec a, cvec w) {
    return (cvec){a.re * w.re + a.im * w.im, a.im * w.re - a.re * w.im};
}
INLINE vec mul_conj_im(cvec a, cvec w) { return a.im * w.re - a.re * w.im; }

/* a, b -> a + w b, a - w b;   a, b -> a + i w b, a - i w b */
INLINE void split(cvec *a, cvec *b, cvec w) {
    cvec t = mul(*b, w);
    *b = sub(*a, t), *a = add(*a, t);
}
INLINE void split_i(cvec *a, cvec *b, cvec w) {
    cvec t = mul(*b, w);
    *b = (cvec){a->re + t.im, a->im - t.re}, *a = (cvec){a->re - t.im, a->im + t.re};
}
/* and the inverse, times 2: a, b -> a + b, (a - b) / w;   a, b -> a + b, (a - b) / i w */
INLINE void join(cvec *a, cvec *b, cvec w) {
    cvec d = sub(*a, *b);
    *a = add(*a, *b), *b = mul_conj(d, w);
}
INLINE void join_i(cvec *a, cvec *b, cvec w) {
    cvec d = sub(*a, *b);
    *a = add(*a, *b), *b = mul_conj((cvec){d.im, -d.re}, w);
}

/* z[0..3] -> residues at r, ir, -r, -ir; and the inverse, times 4 */
INLINE void split4(cvec *z, cvec r, cvec r2, cvec r3) {
    cvec a = z[0], b = mul(z[1], r), c = mul(z[2], r2), d = mul(z[3], r3);
    cvec s0 = add(a, c), d0 = sub(a, c), s1 = add(b, d), d1 = sub(b, d);
    z[0] = add(s0, s1), z[2] = sub(s0, s1);
    z[1] = (cvec){d0.re - d1.im, d0.im + d1.re}, z[3] = (cvec){d0.re + d1.im, d0.im - d1.re};
}
INLINE void join4(cvec *z, cvec r, cvec r2, cvec r3) {
    cvec s0 = add(z[0], z[2]), s1 = sub(z[0], z[2]), d0 = add(z[1], z[3]), d1 = sub(z[1], z[3]);
    z[0] = add(s0, d0);
    z[1] = mul_conj((cvec){s1.re + d1.im, s1.im - d1.re}, r);
    z[2] = mul_conj(sub(s0, d0), r2);
    z[3] = mul_conj((cvec){s1.re - d1.im, s1.im + d1.re}, r3);
}

/* ---- the passes within vectors, four vectors at a time --------------------------------------- */

INLINE void transpose4(vec *a) { /* 4 x 4, in each half of eight lanes */
#if NV_LANES == 8
    vec b0 = __builtin_shufflevector(a[0], a[1], 0, 8, 1, 9, 4, 12, 5, 13),
        b1 = __builtin_shufflevector(a[0], a[1], 2, 10, 3, 11, 6, 14, 7, 15);
    vec b2 = __builtin_shufflevector(a[2], a[3], 0, 8, 1, 9, 4, 12, 5, 13),
        b3 = __builtin_shufflevector(a[2], a[3], 2, 10, 3, 11, 6, 14, 7, 15);
    a[0] = __builtin_shufflevector(b0, b2, 0, 1, 8, 9, 4, 5, 12, 13),
    a[1] = __builtin_shufflevector(b0, b2, 2, 3, 10, 11, 6, 7, 14, 15);
    a[2] = __builtin_shufflevector(b1, b3, 0, 1, 8, 9, 4, 5, 12, 13),
    a[3] = __builtin_shufflevector(b1, b3, 2, 3, 10, 11, 6, 7, 14, 15);
#else
    vec b0 = __builtin_shufflevector(a[0], a[1], 0, 4, 1, 5),
        b1 = __builtin_shufflevector(a[0], a[1], 2, 6, 3, 7);
    vec b2 = __builtin_shufflevector(a[2], a[3], 0, 4, 1, 5),
        b3 = __builtin_shufflevector(a[2], a[3], 2, 6, 3, 7);
    a[0] = __builtin_shufflevector(b0, b2, 0, 1, 4, 5),
    a[1] = __builtin_shufflevector(b0, b2, 2, 3, 6, 7);
    a[2] = __builtin_shufflevector(b1, b3, 0, 1, 4, 5),
    a[3] = __builtin_shufflevector(b1, b3, 2, 3, 6, 7);
#endif
}

INLINE void transpose_complex(cvec *z) {
    vec re[4] = {z[0].re, z[1].re, z[2].re, z[3].re}, im[4] = {z[0].im, z[1].im, z[2].im, z[3].im};
    transpose4(re), transpose4(im);
    for (int k = 0; k < 4; k++) z[k] = (cvec){re[k], im[k]};
}

#if NV_LANES == 8
enum { LANE_ROOTS = 4 };
/* Two nodes of eight points, low halves and high halves. */
INLINE void halves(cvec *a, cvec *b) {
    cvec lo = {__builtin_shufflevector(a->re, b->re, 0, 1, 2, 3, 8, 9, 10, 11),
               __builtin_shufflevector(a->im, b->im, 0, 1, 2, 3, 8, 9, 10, 11)};
    cvec hi = {__builtin_shufflevector(a->re, b->re, 4, 5, 6, 7, 12, 13, 14, 15),
               __builtin_shufflevector(a->im, b->im, 4, 5, 6, 7, 12, 13, 14, 15)};
    *a = lo, *b = hi;
}
#else
enum { LANE_ROOTS = 2 };
#endif

enum { GROUP_ROOTS = 8 + 2 * V * LANE_ROOTS };

/* From nodes of `lanes` points in four vectors to all residues. `roots`: see nv_fft_init(). */
INLINE void split_lanes(cvec *z, const float *roots) {
#if NV_LANES == 8
    for (int k = 0; k < 4; k += 2, roots += 2 * V)
        halves(&z[k], &z[k + 1]), split(&z[k], &z[k + 1], cget(roots));
#endif
    transpose_complex(z);
    cvec r2 = cget(roots), r = cget(roots + 2 * V);
    split(&z[0], &z[2], r2), split(&z[1], &z[3], r2);
    split(&z[0], &z[1], r), split_i(&z[2], &z[3], r);
}
INLINE void join_lanes(cvec *z, const float *roots) {
    const float *last = roots + 2 * V * (LANE_ROOTS - 2);
    cvec r2 = cget(last), r = cget(last + 2 * V);
    join(&z[0], &z[1], r), join_i(&z[2], &z[3], r);
    join(&z[0], &z[2], r2), join(&z[1], &z[3], r2);
    transpose_complex(z);
#if NV_LANES == 8
    for (int k = 0; k < 4; k += 2, roots += 2 * V)
        join(&z[k], &z[k + 1], cget(roots)), halves(&z[k], &z[k + 1]);
#endif
}

#endif
