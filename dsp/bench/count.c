/* Runs the kernel for an instruction counter (callgrind, or count_plugin.c under qemu), which counts between calls of mark():
 *
 *     count BLOCK TAPS INPUTS IR_CHANNELS BLOCKS [CHANGE [FADE_FRAMES]]
 *
 * Blocks until all is in its steady course, then BLOCKS of them with a mark before each and after the last (0: two periods of the
 * largest partition). At the measured block CHANGE another IR is loaded. Prints the partitions, then bytes: kernel, spectra.
 */
#include <stdio.h>
#include <stdlib.h>

#include "kernel.h"

static float noise(void) {
    static unsigned state = 12345;
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / 8388608.0f - 1.0f;
}

__attribute__((noinline)) void mark(void) { __asm__ volatile(""); }

static void *make_spectra(const nv_layout *layout, int channels, int taps, size_t *bytes) {
    const float *ir[NV_MAX_IR_CHANNELS];
    for (int c = 0; c < channels; c++) {
        float *h = malloc((size_t)taps * sizeof *h);
        for (int i = 0; i < taps; i++) h[i] = 0.01f * noise();
        ir[c] = h;
    }
    *bytes = nv_spectra_bytes(layout, channels, taps);
    size_t rounded = (*bytes + 63) / 64 * 64;
    void *spectra = aligned_alloc(64, rounded);
    int error = nv_prepare(layout, ir, channels, taps, spectra, rounded);
    if (error) fprintf(stderr, "%s\n", nv_error_text(error)), exit(1);
    for (int c = 0; c < channels; c++) free((void *)ir[c]);
    return spectra;
}

int main(int argc, char **argv) {
    if (argc < 6) return 2;
    int block = atoi(argv[1]), taps = atoi(argv[2]), inputs = atoi(argv[3]), channels = atoi(argv[4]), blocks = atoi(argv[5]);
    int change = argc > 6 ? atoi(argv[6]) : -1, fade = argc > 7 ? atoi(argv[7]) : 720;
    nv_layout layout;
    int error = nv_layout_plan(&layout, block, taps, inputs);
    if (error) return fprintf(stderr, "%s\n", nv_error_text(error)), 1;
    int period = (int)layout.stage[layout.stages - 1].partition_frames / block;
    if (!blocks) blocks = 2 * period;
    size_t bytes;
    void *spectra = make_spectra(&layout, channels, taps, &bytes), *other = make_spectra(&layout, channels, taps, &bytes);
    nv_kernel *kernel = nv_kernel_new(&layout, fade, &error);
    if (!kernel || nv_kernel_load(kernel, spectra)) return 1;
    float in[2][NV_MAX_BLOCK], out[2][NV_MAX_BLOCK];
    for (int i = 0; i < NV_MAX_BLOCK; i++) in[0][i] = noise(), in[1][i] = noise();
    const float *from[2] = {in[0], in[1]};
    float *to[2] = {out[0], out[1]};
    for (int i = 0; i < 4 * period || nv_kernel_fading(kernel); i++) nv_kernel_process(kernel, from, to);
    for (int i = 0; i < blocks; i++) {
        mark();
        if (i == change && nv_kernel_load(kernel, other)) return 1;
        nv_kernel_process(kernel, from, to);
    }
    mark();
    for (uint32_t s = 0; s < layout.stages; s++)
        printf("%s%ux%u", s ? " + " : "", layout.stage[s].partitions, layout.stage[s].partition_frames);
    printf("\n%zu %zu\n", nv_kernel_bytes(kernel), bytes);
    return 0;
}
