/* Runs the kernel for an instruction counter (callgrind, or count_plugin.c under qemu), which
 * counts between calls of mark(). Arguments, as key=value: block, taps, inputs, channels (of the
 * IR), blocks (to measure; 0: two periods of the largest partition), change (measured block at
 * which another IR is loaded), fade (frames), stages (how many of them; default all).
 *
 * First runs to the steady state, in which the room has the input of its complete length; then
 * calls mark() before each measured block and after the last.
 * Prints a line for each stage: partition, partitions, first tap, delay in blocks, 1 if it works
 * ahead; then the model's instructions of a block; then bytes: kernel, spectra, touched in a block,
 * of these by rings and filters; last the blocks that the change took.
 */
#include "common.h"
#include "kernel_fft.h"
#include "kernel_plan.h"

DEFINE_MARK

static void *make_spectra(const nv_layout *layout, int channels, int taps, size_t *bytes) {
    const float *ir[NV_MAX_IR_CHANNELS];
    for (int c = 0; c < channels; c++) ir[c] = make_ir(taps);
    *bytes = nv_spectra_bytes(layout, channels, taps);
    size_t rounded = (*bytes + 63) / 64 * 64;
    void *spectra = aligned_alloc(64, rounded);
    int error = nv_prepare(layout, ir, channels, taps, spectra, rounded);
    if (error) fprintf(stderr, "%s\n", nv_error_text(error)), exit(1);
    for (int c = 0; c < channels; c++) free((void *)ir[c]);
    return spectra;
}

typedef struct {
    double all, products;
} touched;

/* Bytes of a block. `products`: rings and filters, which they read. `all`: also the passes of
 * transforms (each reads and writes all points), blocks in and out. */
static touched bytes_touched(const nv_layout *layout, int channels) {
    touched sum = {0, 0};
    double block = layout->block_frames;
    int paths = channels == 4 ? 4 : NV_OUTPUTS;
    for (uint32_t i = 0; i < layout->stages; i++) {
        const nv_stage *s = &layout->stage[i];
        double complex_bytes = 8.0 * s->partition_frames,
               passes = 2 + nv_doublings((int)s->partition_frames, (int)layout->lanes) / 2;
        double rings = channels == 4 || layout->inputs == 1 ? layout->inputs : NV_OUTPUTS;
        double products = complex_bytes * s->partitions * (paths + rings),
               transforms = complex_bytes * 2 * passes * (layout->inputs + NV_OUTPUTS);
        sum.products += products * block / s->partition_frames;
        sum.all +=
            (products + transforms) * block / s->partition_frames + 3 * 4 * block * NV_OUTPUTS;
    }
    return sum;
}

int main(int argc, char **argv) {
    (void)argc;
    int block = argument(argv, "block", 64), taps = argument(argv, "taps", 97536),
        inputs = argument(argv, "inputs", 2);
    int channels = argument(argv, "channels", 2), blocks = argument(argv, "blocks", 0),
        change = argument(argv, "change", -1);
    int fade = argument(argv, "fade", 720), stages = argument(argv, "stages", NV_MAX_STAGES),
        took = 0;
    nv_layout layout;
    int error = nv_layout_plan(&layout, block, taps, inputs);
    if (error) return fprintf(stderr, "%s\n", nv_error_text(error)), 1;
    if (stages < (int)layout.stages) {
        layout.max_taps = layout.stage[stages].offset_taps, taps = (int)layout.max_taps;
        memset(&layout.stage[stages], 0, (layout.stages - (size_t)stages) * sizeof *layout.stage);
        layout.stages = (uint32_t)stages;
    }
    int period = (int)layout.stage[layout.stages - 1].partition_frames / block;
    if (!blocks) blocks = 2 * period;
    size_t bytes;
    void *spectra = make_spectra(&layout, channels, taps, &bytes),
         *other = make_spectra(&layout, channels, taps, &bytes);
    nv_kernel *kernel = nv_kernel_new(&layout, fade, &error);
    if (!kernel || nv_kernel_load(kernel, spectra, NV_TAILS_KEEP)) return 1;
    float in[2][NV_MAX_BLOCK], out[2][NV_MAX_BLOCK];
    for (int i = 0; i < NV_MAX_BLOCK; i++) in[0][i] = noise(), in[1][i] = noise();
    const float *from[2] = {in[0], in[1]};
    float *to[2] = {out[0], out[1]};
    /* Until the room has the input of its complete length. */
    for (int i = 0; i < taps / block + 4 * period || i % period; i++)
        nv_kernel_process(kernel, from, to);
    for (int i = 0; i < blocks; i++) {
        mark();
        if (i == change && nv_kernel_load(kernel, other, NV_TAILS_KEEP)) return 1;
        nv_kernel_process(kernel, from, to);
        took += nv_kernel_fading(kernel);
    }
    mark();
    for (uint32_t s = 0; s < layout.stages; s++) {
        const nv_stage *stage = &layout.stage[s];
        int delay = nv_stage_delay(stage, block);
        printf("%u %u %u %d %d\n", stage->partition_frames, stage->partitions, stage->offset_taps,
               delay, nv_stage_early(delay, (int)stage->partition_frames / block));
    }
    touched moved = bytes_touched(&layout, channels);
    printf("%.0f\n%zu %zu %.0f %.0f\n%d\n", nv_cost_of_block(&layout, 0), nv_kernel_bytes(kernel),
           bytes, moved.all, moved.products, took + 1);
    return 0;
}
