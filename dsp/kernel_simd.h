/* The kernel's inner loops: one source (kernel_simd.c), compiled once for each instruction set,
 * selected at run time.
 *
 * All loops process a range of units, so that kernel_jobs.c can cut a large transform into slices
 * of equal cost. A complex signal of P points is stored as P / lanes vectors, each with `lanes`
 * real parts followed by `lanes` imaginary parts.
 */
#ifndef NV_KERNEL_SIMD_H
#define NV_KERNEL_SIMD_H
#include <stddef.h>

#include "latefield_lines.h"
#include "pulses.h"
#include "synthesis.h"

enum { NV_MAX_PASSES = 8, NV_FADE_PIECE = 16, NV_ENERGY_PIECE = 64 };

/* A step of one side of the shimmer (shimmer.h). What changes does so along a line: its value
 * before the first frame and its step. */
typedef struct nv_shimmer_turn {
    const float *head[2], *window[2], *line, *source;
    float *in, *out;
    float head_gain[2], cosine[2], sine[2], keeps[2], gain[2];
    int frames, glides; /* 0: nothing changes */
} nv_shimmer_turn;

/* A high-pass of first order and a low-pass of second order, of two sides: what they are, and their
 * states. */
typedef struct nv_shimmer_filter {
    float high_a, high_b, low_a[2]; /* high_b: with the gain of the low-pass */
    float before[2], high[2], low[2][2];
} nv_shimmer_filter;

/* Tables for a right-angle transform of `points` complex points, that is of 2 * points real
 * samples: the tree of roots in kernel_simd.c. */
typedef struct nv_fft {
    int points, passes;
    struct {
        int span, radix;   /* the pass splits each node of `span` points into `radix` of them */
        float *roots;      /* [node][6]: r, r^2, r^3 as re, im (radix 2: [node][2]) */
    } pass[NV_MAX_PASSES]; /* the first (radix 2 or 4) and the middle passes */
    int last;              /* 1 if a last pass of radix 4 comes before those within vectors */
    /* For the last pass and those within vectors, [group of 4 vectors]: r, r^2, r^3 as re, im and
     * two unused floats; then the roots within vectors, see nv_fft_init(). */
    float *group_roots;
} nv_fft;

/* Partitions that follow one another: as many spectra of the input, to be multiplied with those of
 * a filter. Spectra are stored as [pair of vectors][partition][4 * lanes floats]. */
typedef struct nv_run {
    const float *input, *filter[2];     /* at the first pair; filter[output] */
    size_t input_stride, filter_stride; /* floats from a pair to the next */
    int partitions;
} nv_run;

/* Where a transform goes. Strides are floats from a pair of vectors to the next. */
typedef struct nv_target {
    float *hop;          /* the spectrum of the frames themselves */
    const float *before; /* that of the frames before; NULL: silence. May be `hop` or `window` */
    float *window;       /* before + i * hop, the spectrum of both; NULL: not needed */
    size_t hop_stride, before_stride, window_stride;
    size_t again; /* `window` is written a second time this many floats further on, if not 0 */
} nv_target;

typedef struct nv_simd {
    const char *name;
    int lanes;
    /* The first pass, reading `points` real frames. Unit: a butterfly of vectors; points / lanes /
     * radix of them. */
    void (*forward_first)(const nv_fft *fft, const float *frames, float *z, int from, int to);
    /* A further pass, in place. Unit: a butterfly. */
    void (*forward)(const nv_fft *fft, int pass, float *z, int from, int to);
    /* The last pass of radix 4 and those within vectors. Unit: 4 vectors. */
    void (*to_spectrum)(const nv_fft *fft, const float *z, const nv_target *target, int from,
                        int to);
    /* z[output] = (more ? z[output] : 0) + the sum of products of all runs, for one or two outputs;
     * at least one run. Unit: a pair of vectors, an even number of them. */
    void (*multiply)(const nv_run *runs, int count, int outputs, float *const *z, int more,
                     int from, int to);
    /* The same passes backwards: to_spectrum's in place, forward's, and forward_first's, which
     * writes the real block without circular aliasing. A transform there and back is scaled by
     * `points`. */
    void (*from_spectrum)(const nv_fft *fft, float *z, int from, int to);
    void (*inverse)(const nv_fft *fft, int pass, float *z, int from, int to);
    void (*inverse_last)(const nv_fft *fft, const float *z, float *out, int from, int to);
    /* out += block; a multiple of `lanes` frames. */
    void (*add)(float *out, const float *block, int frames);
    /* out += old * (1 - g) + fresh * g; old NULL: out = out * (1 - g) + fresh * g. In each piece of
     * NV_FADE_PIECE frames g is a line from gain[piece] to gain[piece + 1]. */
    void (*add_faded)(float *out, const float *old, const float *fresh, const float *gain,
                      int pieces);
    /* rising = block * g, with the same g; falling = block - rising. */
    void (*share)(float *rising, float *falling, const float *block, const float *gain, int pieces);
    /* out = a - b, or a if b is NULL; a multiple of `lanes` frames. */
    void (*subtract)(float *out, const float *a, const float *b, int frames);
    /* out = in * factor; 0 if a sample of `in` is NaN or infinite. Any number of frames. */
    int (*scale_finite)(float *out, const float *in, float factor, int frames);
    /* The sum of squares. Any number of frames; fast: multiples of NV_ENERGY_PIECE. */
    float (*energy)(const float *in, int frames);
    /* The late field (latefield_vectors.h). A step of all lines; 1 if what leaves is not finite. */
    int (*late_lines)(nv_late_lines *lines);
    /* The filter at the input of both sides. */
    void (*late_level)(nv_late_lines *lines, const float *const *in, float *const *out);
    /* All-passes in place; from: what was written one length of each ago. */
    void (*late_diffuse)(float *x, const float *const *from, float *const *to, int frames);
    /* A delay that changes along a line (movement_vectors.h); a multiple of `lanes` frames. */
    void (*delayed)(float *out, const float *in, float delay, float slope, float gain, int frames);
    /* Of the shimmer (shimmer_vectors.h); multiples of `lanes` and of 4 frames. A head reads. */
    void (*shimmer_read)(float *out, const float *in, float at, float pace, int frames);
    void (*shimmer_filter)(nv_shimmer_filter *filter, const float *const *in, float *const *out,
                           int frames);
    /* Its heads and its rotation. */
    void (*shimmer_turn)(const nv_shimmer_turn *turn);
    /* The synthesis (synthesis_vectors.h). See nv_find_curves(); points: two floats a frame. */
    void (*find_curves)(const nv_map *map, const int32_t *after, const float *share, float *points,
                        float *curves);
    /* A band, up to the end of node `last` of its curve, into
     * work->spectrum. */
    void (*add_band)(const nv_band *band, const float *curve, int last,
                     const nv_synthesis_work *work);
    /* work->spectrum to the first `taps` of `frames` samples of both sides; see nv_synthesise(). */
    void (*make_samples)(int frames, const float *middle, const float *side, float *left,
                         float *right, int taps, const nv_synthesis_work *work);
    /* level: [bands][4] of four pulses, out: [half of the size][4] (pulses_vectors.h). */
    void (*four_pulses)(const nv_pulses *p, const float *level, const nv_pulse_work *work,
                        float *out);
    /* Arrays of levels (decibels_vectors.h). */
    void (*powers)(const float *in, float top_db, int count, float *out);
    void (*decibels)(const float *in, int count, float *out);
    void (*weighted_sums)(const float *x, const float *matrix, int columns, const int32_t *rows,
                          float *out);
    /* Sums of weights [outputs][inputs] times x (dense_vectors.h). */
    void (*dense_sums)(const int8_t *weights, const int16_t *x, int inputs, int outputs,
                       int64_t *sums);
} nv_simd;

/* The builds in this program. */
extern const nv_simd nv_simd_baseline;
#if defined(__x86_64__)
extern const nv_simd nv_simd_avx2;
#elif defined(__arm__)
extern const nv_simd nv_simd_neon;
#endif
#endif
