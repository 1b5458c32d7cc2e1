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
    float *roots = memory(8 * POINTS), *x = memory(POINTS), *z = memory(2 * POINTS),
          *out = memory(2 * POINTS);
    float *ring = memory(64 * 4 * 8 * 40), *filter = memory(64 * 4 * 8 * 40);
    nv_fft fft = {.points = POINTS,
                  .passes = 2,
                  .pass = {{POINTS, 4, roots}, {POINTS / 8, 4, roots}},
                  .last = 1,
                  .group_roots = roots};
    nv_fft odd = fft;
    odd.pass[0].radix = 2;
    COUNT("first2", simd->forward_first(&odd, x, x, z, 0, units));
    COUNT("first4", simd->forward_first(&fft, x, x, z, 0, units));
    COUNT("pass4", simd->forward(&fft, 1, z, 0, units));
    COUNT("to_spectrum", simd->to_spectrum(&fft, z, out, 4 * (size_t)lanes, 0, 0, units));
    COUNT("from_spectrum", simd->from_spectrum(&fft, z, 0, units));
    COUNT("inverse4", simd->inverse(&fft, 1, z, 0, units));
    COUNT("last2", simd->inverse_last(&odd, z, out, 0, units));
    COUNT("last4", simd->inverse_last(&fft, z, out, 0, units));
    nv_product p = {.inputs = 1,
                    .outputs = 1,
                    .input = {ring, ring},
                    .filter = {{filter, filter}, {filter, filter}},
                    .ring_partitions = 40,
                    .filter_partitions = 40};
    float *sums[2] = {z, out};
    for (int together = 0; together < 2; together++) {
        p.outputs = 1 + together;
        /* pair + 8 product = this, pair + 40 product = that */
        COUNT(together ? "shared_pair_8" : "pair_8",
              simd->multiply(&p, 17, 0, 8, sums, 0, 0, units));
        COUNT(together ? "shared_pair_40" : "pair_40",
              simd->multiply(&p, 17, 0, 40, sums, 0, 0, units));
    }
    return 0;
}
