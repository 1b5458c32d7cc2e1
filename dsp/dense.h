/* A network of dense layers in integers: int8 weights, int16 values, rounded as TFLite rounds.
 *
 * models/integers.py makes the layers from a TFLite network. Plain C11. Not for the audio thread:
 * it allocates.
 */
#ifndef NV_DENSE_H
#define NV_DENSE_H
#include <stdint.h>

enum { NV_DENSE_MOST = 1 << 20 }; /* values of a layer, and layers */

/* A real factor: factor / 2^31 * 2^shift. */
typedef struct nv_scale {
    int32_t factor, shift; /* 0 .. 2^31 - 1, -31 .. 30 */
} nv_scale;

typedef struct nv_dense {
    int inputs, outputs;
    const int8_t *weights;         /* [outputs][inputs] */
    const int64_t *bias;           /* [outputs], added to the sums; or NULL */
    const int32_t *factor, *shift; /* [outputs]: an nv_scale of each sum */
    const int32_t *less; /* [outputs]: subtracted from 2^15 times the scaled sum times `before` */
    nv_scale before, after; /* `after`: of the difference; both shifts <= 0 */
    /* If `is_swish`, z becomes z times its sigmoid; `sigmoid`: the factor 0 .. 2^15 - 1 on z and
     * the number of bits to shift right, 0 .. 31; `product`: of the product. */
    int is_swish;
    nv_scale sigmoid, product;
} nv_dense;

/* out: values of the last layer times `out_scale`. in: rounded to steps of `in_scale`. The inputs
 * of a layer are the outputs of the one before. 0, or -1 without memory. */
int nv_dense_run(const nv_dense *layers, int count, float in_scale, float out_scale,
                 const float *in, float *out);

/* A scale whose total shift is in the range; `small`: of `before` and `after`. */
int nv_scale_fits(nv_scale scale, int small);
#endif
