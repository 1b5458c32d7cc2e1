/* Makes a room for an instruction counter, as count.c runs the kernel: calls mark() before each
 * step (decode, shape, synthesise, spectra) and at the end. Arguments, as key=value: file (tables
 * and levels of a room, as firmware_py/bench/rooms_counts.py writes them), block, longest (frames
 * of the longest IR).
 *
 * The room is made twice and the second counted: the first also loads the program. Prints the
 * energy of the samples.
 */
#include "common.h"
#include "dense.h"
#include "kernel.h"
#include "pulses.h"
#include "shaping.h"
#include "synthesis.h"

DEFINE_MARK

enum { MOST_LAYERS = 16 };

static FILE *file;

/* The next array: its number of bytes, then they. NULL if there are none. */
static void *take(void) {
    int32_t bytes;
    if (fread(&bytes, sizeof bytes, 1, file) != 1) exit(3);
    void *p = bytes ? malloc((size_t)bytes) : NULL;
    if (bytes && (!p || fread(p, 1, (size_t)bytes, file) != (size_t)bytes)) exit(3);
    return p;
}

typedef struct {
    int count;
    float *scales, *latent, *values; /* scales: in, out */
    nv_dense layer[MOST_LAYERS];
} nv_decoder;

static nv_decoder take_decoder(void) {
    int32_t *count = take();
    nv_decoder d = {.count = *count};
    d.scales = take(), d.latent = take();
    if (d.count > MOST_LAYERS) exit(3);
    for (int i = 0; i < d.count; i++) {
        int32_t *n = take();
        d.layer[i] = (nv_dense){.inputs = n[0],
                                .outputs = n[1],
                                .before = {n[2], n[3]},
                                .after = {n[4], n[5]},
                                .is_swish = n[6],
                                .sigmoid = {n[7], n[8]},
                                .product = {n[9], n[10]}};
        nv_dense *l = &d.layer[i];
        l->weights = take(), l->bias = take(), l->factor = take(), l->shift = take();
        l->less = take(), d.values = malloc(4 * (size_t)n[1]);
    }
    return d;
}

static nv_falls take_falls(void) {
    int32_t *n = take();
    nv_falls f = {.frames = n[0], .early = n[1]};
    f.edge_s = take(), f.centre_s = take(), f.blur = take(), f.slope = take();
    int32_t *rows = malloc(8 * (size_t)f.frames + 64), *slope_rows = rows + f.early / 2 + 4;
    nv_find_rows(f.blur, f.early, rows), nv_find_rows(f.slope, f.frames, slope_rows);
    f.blur_rows = rows, f.slope_rows = slope_rows;
    return f;
}

static nv_pulses take_pulses(void) {
    int32_t *n = take();
    nv_pulses p = {.bands = n[0], .frames = n[1], .rate_hz = n[2], .heard = n[3]};
    p.size = n[4], p.window_frames = n[5];
    p.centre_s = take(), p.frame_s = take(), p.octave = take(), p.reflected = take();
    p.share = take(), p.density_db = take(), p.fade = take(), p.window = take(), p.node = take();
    return p;
}

static nv_taps take_taps(void) {
    int32_t *count = take();
    float *fields = take();
    size_t n = (size_t)*count;
    return (nv_taps){*count, fields, fields + n, fields + 2 * n, fields + 3 * n};
}

static nv_synthesis take_synthesis(void) {
    int32_t *n = take();
    nv_band *band = malloc((size_t)n[1] * sizeof *band);
    for (int i = 0; i < n[1]; i++) {
        int32_t *own = take();
        band[i] = (nv_band){.curve = own[0], .first = own[1], .size = own[2]};
        band[i].carrier = take(), band[i].window = take();
        band[i].node = take(), band[i].share = take();
    }
    return (nv_synthesis){.frames = n[0], .bands = n[1], .band = band};
}

typedef struct {
    float *level, *direct, *left, *energy, *curves, *fall, *share;
    int32_t *after, *last;
    float *node_share, *middle, *side, *start, *rate;
} nv_room;

/* What shaping does in C: `decay`, and how the room goes on. */
static int shape(const nv_falls *f, int bands, nv_room *r) {
    return nv_find_falls(f, bands, r->level, r->direct, 0.8f, r->fall, r->share) |
           nv_find_reliable(f, bands, r->level, r->last) |
           nv_find_lines(f, bands, r->level, r->last, r->start, r->rate);
}

static int synthesise(const nv_pulses *p, const nv_taps *taps, const nv_synthesis *s, nv_room *r,
                      float *out, int samples, int lead) {
    nv_map map = {p->bands, p->frames, r->left};
    float *left = out, *right = out + samples;
    return nv_split_taps(p, taps, r->level, r->left, r->energy) |
           nv_find_curves(&map, r->after, r->node_share, r->curves) |
           nv_synthesise(s, r->curves, p->bands, NV_NODES * p->frames, r->middle, r->side, left,
                         right, samples) |
           nv_add_taps(p, taps, r->left, r->energy, 1, left + lead, right + lead, samples - lead);
}

int main(int argc, char **argv) {
    (void)argc;
    const char *name = text_argument(argv, "file");
    file = name ? fopen(name, "rb") : NULL;
    if (!file) return 2;
    nv_decoder decoder = take_decoder();
    nv_falls falls = take_falls();
    nv_pulses pulses = take_pulses();
    nv_taps taps = take_taps();
    nv_synthesis synthesis = take_synthesis();
    int32_t *n = take(), samples = n[0], lead = n[1];
    nv_room room = {0};
    room.level = take(), room.direct = take(), room.after = take(), room.node_share = take();
    room.middle = take(), room.side = take();
    fclose(file);
    size_t bands = (size_t)pulses.bands, cells = bands * (size_t)pulses.frames;
    room.left = malloc(4 * cells), room.energy = malloc(4 * bands * (size_t)taps.count);
    room.curves = malloc(4 * NV_NODES * cells), room.fall = malloc(4 * (cells + bands));
    room.share = malloc(4 * bands), room.last = malloc(4 * bands);
    room.start = malloc(4 * bands), room.rate = malloc(4 * bands);
    float *out = malloc(8 * (size_t)samples);
    const float *ir[2] = {out, out + samples};
    nv_layout layout;
    int longest = argument(argv, "longest", samples);
    if (nv_layout_plan(&layout, argument(argv, "block", 128), longest, 1)) return 4;
    size_t bytes = (nv_spectra_bytes(&layout, 2, samples) + 63) / 64 * 64;
    void *spectra = aligned_alloc(64, bytes);
    for (int time = 0; time < 2; time++) {
        mark();
        if (decoder.count && nv_dense_run(decoder.layer, decoder.count, decoder.scales[0],
                                          decoder.scales[1], decoder.latent, decoder.values))
            return 5;
        mark();
        if (shape(&falls, pulses.bands, &room)) return 5;
        mark();
        if (synthesise(&pulses, &taps, &synthesis, &room, out, samples, lead)) return 5;
        mark();
        if (nv_prepare(&layout, ir, 2, samples, spectra, bytes)) return 6;
        mark();
    }
    double energy = 0;
    for (int i = 0; i < 2 * samples; i++) energy += (double)out[i] * out[i];
    printf("%g\n", energy);
    return 0;
}
