/* Runs the kernel for a number of blocks, for callgrind to count: count BLOCK TAPS INPUTS IR_CHANNELS BLOCKS. */
#include <stdio.h>
#include <stdlib.h>

#include "kernel.h"

static float noise(void) {
    static unsigned state = 12345;
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / 8388608.0f - 1.0f;
}

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    int block = atoi(argv[1]), taps = atoi(argv[2]), inputs = atoi(argv[3]), channels = atoi(argv[4]), blocks = atoi(argv[5]);
    nv_layout layout;
    int error = nv_layout_plan(&layout, block, taps, inputs);
    if (error) {
        fprintf(stderr, "%s\n", nv_error_text(error));
        return 1;
    }
    const float *ir[NV_MAX_IR_CHANNELS];
    for (int c = 0; c < channels; c++) {
        float *h = malloc((size_t)taps * sizeof *h);
        for (int i = 0; i < taps; i++) h[i] = 0.01f * noise();
        ir[c] = h;
    }
    size_t bytes = (nv_spectra_bytes(&layout, channels, taps) + 63) / 64 * 64;
    void *spectra = aligned_alloc(64, bytes);
    nv_kernel *kernel = nv_kernel_new(&layout, block, &error);
    if (!kernel || nv_prepare(&layout, ir, channels, taps, spectra, bytes)) return 1;
    nv_kernel_load(kernel, spectra);
    float in[2][NV_MAX_BLOCK], out[2][NV_MAX_BLOCK];
    for (int i = 0; i < NV_MAX_BLOCK; i++) in[0][i] = noise(), in[1][i] = noise();
    const float *from[2] = {in[0], in[1]};
    float *to[2] = {out[0], out[1]};
    for (int i = 0; i < blocks; i++) nv_kernel_process(kernel, from, to);
    for (uint32_t s = 0; s < layout.stages; s++)
        printf("%s%ux%u", s ? " + " : "", layout.stage[s].partitions, layout.stage[s].partition_frames);
    printf("\n%zu\n", nv_kernel_bytes(kernel));
    return 0;
}
