#include "dense.h"

#include <math.h>
#include <stdlib.h>

#include "kernel_build.h"

enum { NODES = 257, NODE_BITS = 9 }; /* of the table of the sigmoid, 24 nodes for each unit */

int nv_scale_fits(nv_scale scale, int small) {
    return scale.factor >= 0 && scale.shift >= -31 && scale.shift <= (small ? 0 : 30);
}

static int32_t limited(int64_t x, int32_t most) {
    return (int32_t)(x < -most - 1 ? -most - 1 : x > most ? most : x);
}

static int16_t to_int16(int64_t x) { return (int16_t)limited(x, INT16_MAX); }

/* TFLite's single rounding; it is half up. */
static int64_t scaled(int64_t x, nv_scale by) {
    int shift = 31 - by.shift;
    return (limited(x, INT32_MAX) * (int64_t)by.factor + ((int64_t)1 << (shift - 1))) >> shift;
}

/* TFLite's double rounding, of a product with a factor below 1: both are half away from 0. */
static int32_t scaled_twice(int32_t x, nv_scale by) {
    int64_t product = (int64_t)x * by.factor, half = (int64_t)1 << 30;
    int64_t high = (product + (product >= 0 ? half : 1 - half)) / ((int64_t)1 << 31);
    if (!by.shift) return (int32_t)high;
    int64_t mask = ((int64_t)1 << -by.shift) - 1, rest = high & mask;
    return (int32_t)((high >> -by.shift) + (rest > (mask >> 1) + (high < 0)));
}

static void fill_nodes(int32_t *node) {
    for (int i = 0; i < NODES; i++) {
        double value = floor(65536 / (1 + exp(-i / 24.0)) + 0.5);
        node[i] = (int32_t)(value > 65535 ? 65535 : value);
    }
}

/* 2^15 times the sigmoid, from a line between two nodes. */
static int32_t sigmoid(int16_t z, nv_scale by, const int32_t *node) {
    int64_t round = by.shift > 0 ? (int64_t)1 << (by.shift - 1) : 0;
    int64_t x = ((int64_t)z * by.factor + round) >> by.shift, away = x < 0 ? -x : x;
    int64_t at = away >> NODE_BITS, value = (int64_t)INT16_MAX << 10;
    if (at < NODES - 2)
        value = ((int64_t)node[at] << NODE_BITS) +
                (away & ((1 << NODE_BITS) - 1)) * (node[at + 1] - node[at]);
    value = x >= 0 ? value + (1 << 9) : (1 << 25) - value + (1 << 9) - 1;
    return (int32_t)(value >> 10);
}

static void run_layer(const nv_dense *l, const int16_t *x, int64_t *sums, const int32_t *node,
                      int16_t *out) {
    nv_best_simd()->dense_sums(l->weights, x, l->inputs, l->outputs, sums);
    for (int i = 0; i < l->outputs; i++) {
        int64_t sum = sums[i] + (l->bias ? limited(l->bias[i], INT32_MAX) : 0);
        int32_t z = to_int16(scaled(sum, (nv_scale){l->factor[i], l->shift[i]}));
        int64_t less = (int64_t)scaled_twice(z * (1 << 15), l->before) - l->less[i];
        z = to_int16(scaled_twice(limited(less, INT32_MAX), l->after));
        if (l->is_swish)
            z = to_int16(scaled((int64_t)z * sigmoid((int16_t)z, l->sigmoid, node), l->product));
        out[i] = (int16_t)z;
    }
}

static int16_t rounded(float x) {
    if (!(x > INT16_MIN)) return x < 0 ? INT16_MIN : 0; /* also of what is no number */
    return (int16_t)(x < INT16_MAX ? roundf(x) : INT16_MAX);
}

int nv_dense_run(const nv_dense *layers, int count, float in_scale, float out_scale,
                 const float *in, float *out) {
    size_t most = (size_t)layers[0].inputs;
    for (int i = 0; i < count; i++)
        if ((size_t)layers[i].outputs > most) most = (size_t)layers[i].outputs;
    int64_t *sums = malloc(most * (sizeof *sums + 2 * sizeof(int16_t)));
    if (!sums) return -1;
    int16_t *x = (int16_t *)(sums + most), *next = x + most;
    int32_t node[NODES];
    fill_nodes(node);
    for (int i = 0; i < layers[0].inputs; i++) x[i] = rounded(in[i] / in_scale);
    for (int i = 0; i < count; i++) {
        run_layer(&layers[i], x, sums, node, next);
        int16_t *free_now = x;
        x = next, next = free_now;
    }
    for (int i = 0; i < layers[count - 1].outputs; i++) out[i] = (float)x[i] * out_scale;
    free(sums);
    return 0;
}
