/* The cost of one unit of each inner loop, for kernel_plan.c. Each line names a loop, which runs
 * between marks with FEW and with MANY units; the difference is the cost. Run like count.c. */
#include "common.h"
#include "kernel_build.h"

DEFINE_MARK

enum { POINTS = 4096, FEW = 32, MANY = 64 };

static float *memory(size_t floats) {
    float *p = aligned_alloc(64, floats * sizeof *p);
    for (size_t i = 0; i < floats; i++) p[i] = 0.25f;
    return p;
}

#define COUNT(name, call)                                                                          \
    do {                                                                                           \
        printf("%s %d\n", name, MANY - FEW);                                                       \
        for (int units = FEW; units <= MANY; units += MANY - FEW) {                                \
            mark();                                                                                \
            call;                                                                                  \
            mark();                                                                                \
        }                                                                                          \
    } while (0)

int main(void) {
    const nv_simd *simd = nv_best_simd();
    int lanes = simd->lanes;
    float *roots = memory(8 * POINTS), *x = memory(2 * POINTS), *z = memory(2 * POINTS),
          *out = memory(2 * POINTS);
    float *ring = memory(64 * 4 * 8 * 40), *filter = memory(64 * 4 * 8 * 40);
    nv_fft fft = {.points = POINTS,
                  .passes = 2,
                  .pass = {{POINTS, 4, roots}, {POINTS / 8, 4, roots}},
                  .last = 1,
                  .group_roots = roots};
    nv_fft odd = fft;
    odd.pass[0].radix = 2;
    COUNT("first2", simd->forward_first(&odd, x, z, 0, units));
    COUNT("first4", simd->forward_first(&fft, x, z, 0, units));
    COUNT("pass4", simd->forward(&fft, 1, z, 0, units));
    size_t stride = 4 * (size_t)lanes;
    nv_target target = {.hop = x,
                        .before = x,
                        .window = ring,
                        .hop_stride = stride,
                        .before_stride = stride,
                        .window_stride = 16 * stride};
    COUNT("to_spectrum", simd->to_spectrum(&fft, z, &target, 0, units));
    COUNT("from_spectrum", simd->from_spectrum(&fft, z, 0, units));
    COUNT("inverse4", simd->inverse(&fft, 1, z, 0, units));
    COUNT("last2", simd->inverse_last(&odd, z, out, 0, units));
    COUNT("last4", simd->inverse_last(&fft, z, out, 0, units));
    float *sums[2] = {z, out};
    for (int outputs = 1; outputs <= 2; outputs++) {
        nv_run run[2] = {{.input = ring,
                          .filter = {filter, filter},
                          .input_stride = 40 * stride,
                          .filter_stride = 40 * stride}};
        run[1] = run[0];
        /* pair + 8 product = this, pair + 40 product = that; a second run of 16 */
        run[0].partitions = 8;
        COUNT(outputs == 2 ? "shared_pair_8" : "pair_8",
              simd->multiply(run, 1, outputs, sums, 0, 0, units));
        run[0].partitions = 40;
        COUNT(outputs == 2 ? "shared_pair_40" : "pair_40",
              simd->multiply(run, 1, outputs, sums, 0, 0, units));
        run[0].partitions = 24, run[1].partitions = 16;
        COUNT(outputs == 2 ? "shared_runs_40" : "runs_40",
              simd->multiply(run, 2, outputs, sums, 0, 0, units));
    }
    return 0;
}
