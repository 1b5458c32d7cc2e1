/* The kernel's inner loops: one source (kernel_simd.c), built once for each instruction set, chosen at run time.
 *
 * All loops work on a range of units, so that kernel.c can cut the work of a large transform into slices of equal cost. A
 * complex signal of P points lies as P / lanes vectors, each `lanes` real parts followed by `lanes` imaginary parts.
 */
#ifndef NV_KERNEL_SIMD_H
#define NV_KERNEL_SIMD_H
#include <stddef.h>

enum { NV_MAX_PASSES = 8 };

/* Tables for a right-angle transform of `points` complex points, that is of 2 * points real samples. */
typedef struct nv_fft {
    int points, passes;
    struct {
        int span, radix;  /* the pass splits each stretch of `span` points into `radix` */
        float *twiddles;
    } pass[NV_MAX_PASSES];
    float *twist; /* exp(-i pi n / (2 points)) */
} nv_fft;

/* One input's ring of spectra, and one IR path's spectra: [pair of vectors][partition][4 * lanes floats]. */
typedef struct nv_path {
    const float *input;  /* ring of ring_partitions, the newest at `newest` */
    const float *filter; /* `partitions` of them */
    int ring_partitions, newest, partitions;
} nv_path;

typedef struct nv_simd {
    const char *name;
    int lanes;
    /* Unit: a vector. Two real blocks -> twisted complex points. */
    void (*load)(const nv_fft *fft, const float *previous, const float *current, float *z, int from, int to);
    /* Unit: a butterfly of vectors; points / lanes / radix of them. Decimation in frequency. */
    void (*forward)(const nv_fft *fft, int pass, float *z, int from, int to);
    /* Unit: `lanes` vectors. Last stage of the transform; writes into a ring of spectra. */
    void (*to_spectrum)(const float *z, float *spectrum, size_t pair_stride, int from, int to);
    /* Unit: a pair of vectors. z = sum over paths and partitions of input * filter. */
    void (*multiply)(const nv_path *paths, int count, float *z, int from, int to);
    /* Unit: `lanes` vectors. First stage of the inverse transform. */
    void (*from_spectrum)(float *z, int from, int to);
    /* Unit: a butterfly of vectors. Decimation in time: the passes in reverse order. */
    void (*inverse)(const nv_fft *fft, int pass, float *z, int from, int to);
    /* Unit: a vector. Untwists; only the half of the result that is not wrapped around. */
    void (*unload)(const nv_fft *fft, const float *z, float *out, int from, int to);
    /* Adds block_frames of old * (1 - g) + new * g to out, g going evenly from g0 in steps of dg; fresh NULL: old alone. */
    void (*add)(float *out, const float *old, const float *fresh, float g0, float dg, int frames);
} nv_simd;

/* Builds that this program holds; NULL-terminated, best first, the last one runs anywhere. */
extern const nv_simd nv_simd_baseline;
#if defined(__x86_64__)
extern const nv_simd nv_simd_avx2;
#elif defined(__arm__)
extern const nv_simd nv_simd_neon;
#endif
#endif
