/* layers FIRST LAST: runs drawn networks of dense layers, one for each seed, and writes their
 * values to stdout: for sanitizers, and to compare processors. */
#include <stdio.h>
#include <stdlib.h>

#include "dense.h"

enum { LAYERS = 4, MOST = 700 };

static uint64_t state;

static uint32_t draw(void) { /* xorshift (Marsaglia 2003) */
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 32);
}

static void *filled(size_t bytes) {
    uint8_t *p = malloc(bytes);
    if (!p) abort();
    for (size_t i = 0; i < bytes; i++) p[i] = (uint8_t)draw();
    return p;
}

/* Often near what networks have, and any that is allowed. */
static nv_scale a_scale(int small) {
    nv_scale scale = {(int32_t)(draw() >> 1), draw() % 4 ? -(int32_t)(draw() % 12) : 0};
    if (draw() % 8 == 0) scale.shift = (int32_t)(draw() % (small ? 32 : 62)) - 31;
    if (!nv_scale_fits(scale, small)) abort();
    return scale;
}

static nv_dense a_layer(int inputs) {
    nv_dense l = {.inputs = inputs, .outputs = 1 + (int)(draw() % MOST), .is_swish = draw() & 1};
    size_t rows = (size_t)l.outputs;
    int32_t *factor = filled(4 * rows), *shift = filled(4 * rows);
    for (size_t i = 0; i < rows; i++) {
        nv_scale scale = a_scale(0);
        factor[i] = scale.factor, shift[i] = scale.shift;
    }
    l.weights = filled(rows * (size_t)inputs), l.factor = factor, l.shift = shift;
    l.bias = draw() & 1 ? filled(8 * rows) : NULL, l.less = filled(4 * rows);
    l.before = a_scale(1), l.after = a_scale(1), l.product = a_scale(0);
    l.sigmoid = (nv_scale){(int32_t)(draw() & INT16_MAX), (int32_t)(draw() & 31)};
    return l;
}

static void network(void) {
    nv_dense layer[LAYERS];
    int inputs = 1 + (int)(draw() % MOST);
    for (int i = 0; i < LAYERS; i++) {
        layer[i] = a_layer(inputs);
        inputs = layer[i].outputs;
    }
    float *in = filled(4 * (size_t)layer[0].inputs), *out = filled(4 * (size_t)inputs);
    if (nv_dense_run(layer, LAYERS, 1e-3f, 1.0f, in, out)) abort();
    fwrite(out, sizeof *out, (size_t)inputs, stdout);
    for (int i = 0; i < LAYERS; i++) {
        free((void *)layer[i].weights), free((void *)layer[i].factor);
        free((void *)layer[i].shift), free((void *)layer[i].bias), free((void *)layer[i].less);
    }
    free(in), free(out);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    for (long seed = atol(argv[1]); seed <= atol(argv[2]); seed++) {
        state = 88172645463325252u + (uint64_t)seed * 7919;
        for (int i = 0; i < 8; i++) draw();
        network();
    }
    return 0;
}
