/* Makes a room for an instruction counter, as count.c runs the kernel: calls mark() before its
 * synthesis, between that and its spectra, and at the end. Arguments, as key=value: file (tables
 * and curves of a room, as firmware_py/bench/rooms_counts.py writes them), block, longest (frames
 * of the longest IR).
 *
 * The room is made twice and the second counted: the first also loads the program. Prints the
 * energy of the samples.
 */
#include "common.h"
#include "kernel.h"
#include "synthesis.h"

DEFINE_MARK

static void *take(FILE *file, size_t bytes) {
    void *p = malloc(bytes + 1);
    if (!p || fread(p, 1, bytes, file) != bytes) exit(3);
    return p;
}

static nv_band take_band(FILE *file) {
    int32_t *head = take(file, 3 * sizeof *head);
    size_t n = (size_t)head[2];
    nv_band band = {.curve = head[0], .first = head[1], .size = head[2]};
    band.carrier = take(file, 16 * n), band.window = take(file, 4 * n);
    band.node = take(file, 4 * n), band.share = take(file, 4 * n);
    free(head);
    return band;
}

int main(int argc, char **argv) {
    (void)argc;
    const char *name = text_argument(argv, "file");
    FILE *file = name ? fopen(name, "rb") : NULL;
    if (!file) return 2;
    int32_t *head = take(file, 5 * sizeof *head);
    int frames = head[0], bands = head[1], rows = head[2], nodes = head[3], taps = head[4];
    float *curves = take(file, 4 * (size_t)rows * (size_t)nodes);
    float *gains = take(file, 8 * ((size_t)frames / 2 + 1)), *side = gains + frames / 2 + 1;
    nv_band *band = malloc((size_t)bands * sizeof *band);
    for (int i = 0; i < bands; i++) band[i] = take_band(file);
    fclose(file);
    nv_synthesis synthesis = {.frames = frames, .bands = bands, .band = band};
    float *out = malloc(8 * (size_t)taps);
    const float *ir[2] = {out, out + taps};
    nv_layout layout;
    if (nv_layout_plan(&layout, argument(argv, "block", 128), argument(argv, "longest", taps), 1))
        return 4;
    size_t bytes = (nv_spectra_bytes(&layout, 2, taps) + 63) / 64 * 64;
    void *spectra = aligned_alloc(64, bytes);
    for (int time = 0; time < 2; time++) {
        mark();
        if (nv_synthesise(&synthesis, curves, rows, nodes, gains, side, out, out + taps, taps))
            return 5;
        mark();
        if (nv_prepare(&layout, ir, 2, taps, spectra, bytes)) return 6;
        mark();
    }
    double energy = 0;
    for (int i = 0; i < 2 * taps; i++) energy += (double)out[i] * out[i];
    printf("%g\n", energy);
    return 0;
}
