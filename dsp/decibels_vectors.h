/* Powers of two and logarithms of four numbers, and arrays of levels; for the synthesis and what
 * shapes rooms. Included by kernel_simd.c, once for each instruction set. */
#ifndef NV_DECIBELS_VECTORS_H
#define NV_DECIBELS_VECTORS_H
#include "kernel_vectors.h"

typedef float four __attribute__((vector_size(16)));
typedef float four_unaligned __attribute__((vector_size(16), aligned(4)));
typedef int32_t four_int __attribute__((vector_size(16)));
INLINE four four_all(float x) { return (four){x, x, x, x}; }
INLINE four four_get(const float *p) { return (four) * (const four_unaligned *)p; }
INLINE void four_put(float *p, four x) { *(four_unaligned *)p = x; }
INLINE four four_chosen(four_int which, four a, four b) {
    return (four)(((four_int)a & which) | ((four_int)b & ~which));
}
INLINE four four_larger(four a, four b) { return four_chosen((four_int)(a > b), a, b); }

/* 2 ** x, for x up to 126, to 2e-7. */
INLINE four exp2_of(four x) {
    static const float TERM[] = {1,          0.693147181f,   0.240226507f,  0.0555041087f,
                                 0.00961812911f, 0.00133335581f, 0.000154035304f};
    x = four_larger(x, four_all(-126));
    four_int whole = __builtin_convertvector(x + four_all(1024.5f), four_int) - 1024;
    four share = x - __builtin_convertvector(whole, four), sum = four_all(TERM[6]);
#pragma GCC unroll 6
    for (int k = 5; k >= 0; k--) sum = sum * share + four_all(TERM[k]);
    return (four)((four_int)sum + (whole << 23));
}

/* The logarithm to base 2 of normal numbers above 0, to 2e-7 or a rounding. */
INLINE four log2_of(four x) {
    const int32_t root = 0x3f3504f3; /* of a half */
    four_int bits = (four_int)x, whole = (bits - root) >> 23;
    four m = (four)(bits - (whole << 23));
    four s = (m - four_all(1)) / (m + four_all(1)), square = s * s, sum = four_all(1.0f / 9);
#pragma GCC unroll 4
    for (int k = 7; k >= 1; k -= 2) sum = sum * square + four_all(1.0f / (float)k);
    return __builtin_convertvector(whole, four) + s * sum * four_all(2.88539008f);
}

/* Calls of `step` for all of `count` numbers, four at a time. */
#define FOUR_AT_A_TIME(step)                                                                       \
    int i = 0;                                                                                     \
    for (; i + 4 <= count; i += 4) four_put(out + i, step(four_get(in + i)));                      \
    if (i < count) {                                                                               \
        float rest[4];                                                                             \
        for (int k = 0; k < 4; k++) rest[k] = in[i + k < count ? i + k : i];                       \
        four_put(rest, step(four_get(rest)));                                                      \
        for (int k = i; k < count; k++) out[k] = rest[k - i];                                      \
    }

/* Powers of levels, relative to that of `top_db`. in may be out. */
static void powers(const float *in, float top_db, int count, float *out) {
#define POWER(x) exp2_of((x - four_all(top_db)) * four_all(0.332192809f))
    FOUR_AT_A_TIME(POWER)
#undef POWER
}

/* Levels of powers; that of less than 1e-30 is -300 dB. in may be out. */
static void decibels(const float *in, int count, float *out) {
#define LEVEL(x) (log2_of(four_larger(x, four_all(1e-30f))) * four_all(3.01029996f))
    FOUR_AT_A_TIME(LEVEL)
#undef LEVEL
}

/* out[f]: the sum of x[i] times matrix[i][f]; rows: see nv_find_rows() in shaping.h. */
static void weighted_sums(const float *x, const float *matrix, int columns, const int32_t *rows,
                          float *out) {
    size_t next = (size_t)columns;
    for (int f = 0; f < columns; f += 4, rows += 2) {
        const float *row = matrix + (size_t)rows[0] * next + f;
        if (f + 4 <= columns) {
            four sum = {0};
            for (int i = rows[0]; i < rows[1]; i++, row += next)
                sum += four_all(x[i]) * four_get(row);
            four_put(out + f, sum);
            continue;
        }
        for (int k = f; k < columns; k++, row++) {
            float sum = 0;
            for (int i = rows[0]; i < rows[1]; i++) sum += x[i] * row[(size_t)(i - rows[0]) * next];
            out[k] = sum;
        }
    }
}

#endif
