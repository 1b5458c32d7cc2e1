/* The inner loops of the synthesis; see synthesis.h. Included by kernel_simd.c, once for each
 * instruction set.
 *
 * A point (sample or bin) has two channels, so vectors of four floats have the real or the
 * imaginary parts of two points, and a transform of any length is vectorised. Transforms are
 * Stockham's, which need no reordering, of radix 4, 2, 3 and 5, with e^-i; roots of unity are
 * computed on the way, because tables of all lengths would take tens of MB. For the inverse the
 * real and imaginary parts are exchanged before and after.
 */
#ifndef NV_SYNTHESIS_VECTORS_H
#define NV_SYNTHESIS_VECTORS_H
#include <math.h>
#include <string.h>

#include "decibels_vectors.h"
#include "kernel_vectors.h"
#include "synthesis.h"

enum { MAX_RADIX = 5, ROOTS = 16, MOST_ROOTS = ROOTS + 4 };

/* Where a transform goes: windowed into a spectrum, or, if `window` is NULL, to `taps` samples. */
typedef struct {
    const float *window;
    float *spectrum, *left, *right;
    int taps;
} nv_points_to;

/* e^(i angle p) for p = 0, 1, ...: a coarse root times a fine one. */
typedef struct {
    double re, im, step_re, step_im;
    float fine_re[MOST_ROOTS], fine_im[MOST_ROOTS];
} nv_turn;

typedef struct {
    float re[MAX_RADIX][MOST_ROOTS], im[MAX_RADIX][MOST_ROOTS]; /* [k]: powers k */
} nv_roots;

static nv_turn turn_of(double angle, int count) {
    nv_turn turn = {.re = 1};
    double re = 1, im = 0, by_re = cos(angle), by_im = sin(angle);
    for (int p = 0; p < MOST_ROOTS && p < count; p++) {
        if (p == ROOTS) turn.step_re = re, turn.step_im = im;
        turn.fine_re[p] = (float)re, turn.fine_im[p] = (float)im;
        double next = re * by_re - im * by_im;
        im = re * by_im + im * by_re, re = next;
    }
    return turn;
}

/* The powers 1 .. r - 1 of the roots from `from` on, of `count`; returns where the next begin. All
 * but the last are ROOTS; one that would be alone comes with those before. */
INLINE int next_roots(nv_turn *turn, int r, int from, int count, nv_roots *roots) {
    int end = count - from <= ROOTS + 1 ? count : from + ROOTS;
    four re = four_all((float)turn->re), im = four_all((float)turn->im);
    for (int p = 0; p < end - from; p += 4) {
        four fine_re = four_get(turn->fine_re + p), fine_im = four_get(turn->fine_im + p);
        four w_re = re * fine_re - im * fine_im, w_im = re * fine_im + im * fine_re;
        four power_re = w_re, power_im = w_im;
        four_put(roots->re[1] + p, w_re), four_put(roots->im[1] + p, w_im);
#pragma GCC unroll 5
        for (int k = 2; k < r; k++) {
            four next = power_re * w_re - power_im * w_im;
            power_im = power_re * w_im + power_im * w_re, power_re = next;
            four_put(roots->re[k] + p, power_re), four_put(roots->im[k] + p, power_im);
        }
    }
    double next = turn->re * turn->step_re - turn->im * turn->step_im;
    turn->im = turn->re * turn->step_im + turn->im * turn->step_re, turn->re = next;
    return end;
}

static int radix_of(int n) { return n % 4 == 0 ? 4 : n % 2 == 0 ? 2 : n % 3 == 0 ? 3 : 5; }

#define POINTS 1
#include "synthesis_passes.h"
#define POINTS 2
#include "synthesis_passes.h"

enum { SMALLEST_EVEN = 6 }; /* after its first pass there are two points at least */

/* x (times gain, whose samples are 0 from `used` on), of n points. */
static void transform(int n, const float *x, const float *gain, int used, float *const *work,
                      const nv_points_to *to) {
    if (n % 2 || n < SMALLEST_EVEN)
        transform1(n, x, gain, used, work, to);
    else
        transform2(n, x, gain, used, work, to);
}

/* ---- curves ---------------------------------------------------------------------------------- */

enum { NODES = NV_NODES };
_Static_assert(NODES == 4, "the nodes of a frame are a vector");

/* The values at the nodes of a frame, in a straight line between the centres of frames. */
INLINE four joined(const float *points, const int32_t *after, const float *share) {
    four low, high;
    for (int i = 0; i < NODES; i++) low[i] = points[after[i] - 1], high[i] = points[after[i]];
    return low + four_get(share) * (high - low);
}

static void find_curves(const nv_map *map, const int32_t *after, const float *share, float *points,
                        float *curves) {
    const float to_power = 0.332192809f; /* log2(10) / 10 */
    float *next = points + map->frames;
    for (int b = 0; b < map->bands; b++) {
        const float *level = map->level_db + (size_t)b * (size_t)map->frames;
        memcpy(points, level, (size_t)map->frames * sizeof *points);
        for (int round = 0; round < NV_ROUNDS; round++) {
            for (int f = 0; f < map->frames; f++) {
                four line = joined(points, after + NODES * f, share + NODES * f);
                four power = exp2_of(line * four_all(to_power));
                next[f] = (power[0] + power[1] + power[2] + power[3]) / NODES;
            }
            decibels(next, map->frames, next);
            for (int f = 0; f < map->frames; f++) {
                float point = points[f] + level[f] - next[f], most = level[f] + NV_MOST_OFF_DB,
                      least = level[f] - NV_MOST_OFF_DB;
                points[f] = point > most ? most : point < least ? least : point;
            }
        }
        for (int f = 0; f < map->frames; f++, curves += NODES)
            four_put(curves, exp2_of(joined(points, after + NODES * f, share + NODES * f) *
                                     four_all(to_power / 2)));
    }
}

/* ---- bands ----------------------------------------------------------------------------------- */

/* The curve at each sample, up to the end of node `last`; the rest is 0. Returns how many samples
 * are not. lines: work space of two floats for each node. */
static int find_gain(const nv_band *b, const float *curve, int last, float *lines, float *gain) {
    int used = b->size;
    while (used > 0 && b->node[used - 1] > last) used--;
    for (int i = 0; i <= last; i++)
        lines[2 * i] = curve[i], lines[2 * i + 1] = curve[i + 1] - curve[i];
    for (int i = 0; i < used; i++) {
        const float *line = lines + 2 * (b->node[i] < last ? b->node[i] : last);
        gain[i] = line[0] + b->share[i] * line[1];
    }
    memset(gain + used, 0, (size_t)(b->size - used) * sizeof *gain);
    return used;
}

static void add_band(const nv_band *b, const float *curve, int last, const nv_synthesis_work *w) {
    int used = find_gain(b, curve, last, w->lines, w->gain);
    nv_points_to to = {.window = b->window, .spectrum = w->spectrum + 4 * (size_t)b->first};
    transform(b->size, b->carrier, w->gain, used, w->points, &to);
}

/* ---- the two sides --------------------------------------------------------------------------- */

INLINE four halves_exchanged(four z) { return __builtin_shufflevector(z, z, 2, 3, 0, 1); }

/* A bin of middle and side -> left and right. */
INLINE four sides_of(const float *bin, float middle, float side) {
    static const four SIGN = {1, -1, 1, -1};
    four z = four_get(bin);
    return __builtin_shufflevector(z, z, 0, 0, 2, 2) * four_all(middle) +
           __builtin_shufflevector(z, z, 1, 1, 3, 3) * (SIGN * four_all(side));
}

/* Bins 0 .. half of middle and side -> left and right, packed in place for a complex transform of
 * half points, whose samples are pairs of samples; times `scale`, re and im exchanged. */
static void pack_sides(float *x, const float *middle, const float *side, int half, float scale) {
    static const four CONJUGATE = {1, 1, -1, -1}, TURN = {-1, -1, 1, 1};
    for (int i = 2; i < 4; i++) x[i] = x[4 * (size_t)half + i] = 0; /* a real signal */
    int count = half / 2 + 1;
    nv_turn turn = turn_of(M_PI / half, count);
    nv_roots w;
    for (int from = 0, end; from < count; from = end) {
        end = next_roots(&turn, 2, from, count, &w);
        for (int k = from; k < end; k++) {
            int l = half - k;
            float *low = x + 4 * (size_t)k, *high = x + 4 * (size_t)l;
            four a = sides_of(low, middle[k] * scale, side[k] * scale),
                 b = sides_of(high, middle[l] * scale, side[l] * scale) * CONJUGATE;
            four even = a + b, odd = a - b;
            /* times i e^(i pi k / half) */
            odd = odd * four_all(-w.im[1][k - from]) +
                  halves_exchanged(odd) * (TURN * four_all(w.re[1][k - from]));
            four_put(low, halves_exchanged(even + odd));
            four_put(high, halves_exchanged((even - odd) * CONJUGATE));
        }
    }
}

static void make_samples(int frames, const float *middle, const float *side, float *left,
                         float *right, int taps, const nv_synthesis_work *w) {
    pack_sides(w->spectrum, middle, side, frames / 2, 1 / (float)frames);
    nv_points_to to = {.left = left, .right = right, .taps = taps};
    transform(frames / 2, w->spectrum, NULL, 0, w->points, &to);
}

#endif
