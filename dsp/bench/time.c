/* Times of the kernel's blocks, in microseconds. Arguments: block, taps, seconds (of audio), paced
 * (1: a block each period, with cold caches and clock; 0: one after the other), silent (1: first a
 * loud second, then 60 s of silence). Prints median, 99.9th percentile and largest time of a block,
 * and processor time of the process a block. */
#define _GNU_SOURCE
#include <time.h>

#include "common.h"
#include "kernel.h"
#include "timing.h"

int main(int argc, char **argv) {
    (void)argc;
    int block = argument(argv, "block", 64), taps = argument(argv, "taps", 97536),
        paced = argument(argv, "paced", 0);
    long blocks = argument(argv, "seconds", 4) * (long)RATE_HZ / block;
    nv_layout layout;
    int error;
    if (nv_layout_plan(&layout, block, taps, 2)) return 1;
    const float *ir[2] = {make_ir(taps), make_ir(taps)};
    if (argument(argv, "silent", 0)) /* a tail that ends in denormal taps */
        for (int i = 0; i < taps; i++)
            ((float **)ir)[0][i] *= powf(10, -42.0f * (float)i / (float)taps);
    size_t bytes = (nv_spectra_bytes(&layout, 2, taps) + 63) / 64 * 64;
    void *spectra = aligned_alloc(64, bytes);
    nv_kernel *kernel = nv_kernel_new(&layout, 720, &error);
    if (!kernel || nv_prepare(&layout, ir, 2, taps, spectra, bytes) ||
        nv_kernel_load(kernel, spectra, NV_TAILS_KEEP))
        return 1;
    static float in[2][NV_MAX_BLOCK], out[2][NV_MAX_BLOCK];
    const float *from[2] = {in[0], in[1]};
    float *to[2] = {out[0], out[1]};
    for (long i = 0; i < RATE_HZ / block; i++) {
        for (int n = 0; n < block; n++) in[0][n] = noise(), in[1][n] = noise();
        nv_kernel_process(kernel, from, to);
    }
    if (argument(argv, "silent", 0)) {
        memset(in, 0, sizeof in);
        for (long i = 0; i < 60 * (long)RATE_HZ / block; i++) nv_kernel_process(kernel, from, to);
    }
    timing t = timing_begin(blocks, paced ? (double)block / RATE_HZ : 0);
    while (timing_next(&t)) nv_kernel_process(kernel, from, to);
    timing_print(&t);
    return 0;
}
