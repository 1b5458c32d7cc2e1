/* The inner loop of dense layers in integers; see dense.h. Included by kernel_simd.c, once for each
 * instruction set. */
#ifndef NV_DENSE_VECTORS_H
#define NV_DENSE_VECTORS_H
#include <stdint.h>

enum { DENSE_PIECE = 256 }; /* products of int8 and int16 whose sum fits in int32 */

static void dense_sums(const int8_t *weights, const int16_t *x, int inputs, int outputs,
                       int64_t *sums) {
    for (int row = 0; row < outputs; row++) {
        int64_t sum = 0;
        for (int from = 0; from < inputs; from += DENSE_PIECE) {
            int end = inputs - from < DENSE_PIECE ? inputs : from + DENSE_PIECE;
            int32_t piece = 0;
            for (int i = from; i < end; i++) piece += (int16_t)weights[i] * x[i];
            sum += piece;
        }
        sums[row] = sum, weights += inputs;
    }
}

#endif
