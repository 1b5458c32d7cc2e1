/* Plays noise through the kernel and writes the output, which test_arm.py compares across
 * processors. Arguments, as key=value: block, taps, inputs, channels, blocks, change (block at
 * which a second IR of half the taps is loaded; -1: none). Writes, as float32 in native order: the
 * IR's channels, the second's, the inputs, the outputs; and the build's name to stderr.
 */
#include "bench/common.h"
#include "kernel.h"

static void *spectra_of(const nv_layout *layout, float *const *ir, int channels, int taps) {
    size_t bytes = (nv_spectra_bytes(layout, channels, taps) + 63) / 64 * 64;
    void *spectra = aligned_alloc(64, bytes);
    if (!spectra || nv_prepare(layout, (const float *const *)ir, channels, taps, spectra, bytes))
        exit(1);
    return spectra;
}

int main(int argc, char **argv) {
    (void)argc;
    int block = argument(argv, "block", 64), taps = argument(argv, "taps", 20000),
        inputs = argument(argv, "inputs", 2);
    int channels = argument(argv, "channels", 2), blocks = argument(argv, "blocks", 500),
        change = argument(argv, "change", -1), error;
    nv_layout layout;
    if (nv_layout_plan(&layout, block, taps, inputs)) return 1;
    float *first[4], *second[4], *in[2], *out[2];
    for (int c = 0; c < channels; c++)
        fwrite(first[c] = make_ir(taps), sizeof(float), (size_t)taps, stdout);
    for (int c = 0; c < channels; c++)
        fwrite(second[c] = make_ir(taps / 2), sizeof(float), (size_t)taps / 2, stdout);
    for (int c = 0; c < 2; c++) {
        in[c] = calloc((size_t)(blocks * block), sizeof(float)),
        out[c] = calloc((size_t)(blocks * block), sizeof(float));
        for (int i = 0; i < blocks * block; i++) in[c][i] = 0.1f * noise();
    }
    nv_kernel *kernel = nv_kernel_new(&layout, 720, &error);
    if (!kernel ||
        nv_kernel_load(kernel, spectra_of(&layout, first, channels, taps), NV_TAILS_KEEP))
        return 1;
    static const float silence[NV_MAX_BLOCK];
    const float *nothing[2] = {silence, silence};
    while (nv_kernel_fading(kernel)) nv_kernel_process(kernel, nothing, out);
    void *other = spectra_of(&layout, second, channels, taps / 2);
    for (int i = 0; i < blocks; i++) {
        const float *from[2] = {in[0] + i * block, in[1] + i * block};
        float *to[2] = {out[0] + i * block, out[1] + i * block};
        if (i == change && nv_kernel_load(kernel, other, NV_TAILS_KEEP)) return 1;
        nv_kernel_process(kernel, from, to);
    }
    for (int c = 0; c < inputs; c++) fwrite(in[c], sizeof(float), (size_t)(blocks * block), stdout);
    for (int c = 0; c < 2; c++) fwrite(out[c], sizeof(float), (size_t)(blocks * block), stdout);
    fprintf(stderr, "%s\n", nv_kernel_simd());
    return 0;
}
