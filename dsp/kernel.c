/* The convolution engine: spectra, stages, the spreading of work, crossfades. The contract is kernel.h.
 *
 * Non-uniform partitioned convolution by overlap-save (Gardner 1995; Garcia 2002; Wefers 2015). Each stage convolves with its
 * stretch of the IR in partitions of one size, with a ring of input spectra (a frequency-domain delay line) that both IRs of a
 * crossfade read. The first stage works and answers within its block. The work of a later one, its *job*, is a list of steps
 * (transform each input, multiply, transform back), and each block does its share of the job's cost, cut in the middle of a step
 * where need be: no threads, no deadlines but the block's own, and a worst block that costs about what the mean block does (the
 * idea of Battenberg & Avizienis 2011, in one thread).
 *
 * A job's life, for a stage of P frames and M = P / B blocks:
 *
 *     input        |<-------- P frames -------->|<-- next P frames ---------->|
 *     job                                       |== spread over M blocks =====|
 *     output                                                                  |<-- its P frames are added, B at a time -->|
 *
 * A crossfade is made in the time domain, stage by stage: while a stage fades, its jobs compute both IRs' outputs from the same
 * input spectra, and the frames that are added go from one to the other along a raised cosine.
 *
 * Files: kernel_simd.c (inner loops, one object for each instruction set), kernel_plan.c (partition sizes), kernel.c.
 */
#include "kernel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_layout.h"

/* ---- errors, builds ------------------------------------------------------------------------------------------------------ */

const char *nv_error_text(int error) {
    switch (error) {
    case NV_OK: return "no error";
    case NV_E_BLOCK: return "the block must be a power of two from 16 to 1024 frames";
    case NV_E_TAPS: return "the IR must have at least one tap, and no more taps than the engine was made for";
    case NV_E_CHANNELS: return "the IR must have 1, 2 or 4 channels (4 with two inputs only), the engine 1 or 2 inputs";
    case NV_E_LAYOUT: return "the layout is damaged, or of another version or processor";
    case NV_E_SPECTRA: return "the spectra are damaged, or were prepared for another engine";
    case NV_E_SIZE: return "the memory is too small or not aligned to 64 bytes";
    case NV_E_VALUE: return "the IR has a sample that is NaN or not finite";
    case NV_E_BUSY: return "a crossfade is under way";
    case NV_E_MEMORY: return "out of memory";
    }
    return "unknown error";
}

#if defined(__arm__) && defined(__linux__)
#include <sys/auxv.h>
enum { HWCAP_NEON_BIT = 1 << 12 };
#endif

const nv_simd *nv_best_simd(void) {
#if defined(__x86_64__) && !defined(NV_BASELINE_ONLY)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &nv_simd_avx2;
#elif defined(__arm__) && !defined(NV_BASELINE_ONLY)
    if (getauxval(AT_HWCAP) & HWCAP_NEON_BIT) return &nv_simd_neon;
#endif
    return &nv_simd_baseline;
}

const char *nv_kernel_simd(void) { return nv_best_simd()->name; }

/* A transform must fill `lanes` vectors: small ones use the narrower build. */
static const nv_simd *simd_for(int points) {
    const nv_simd *best = nv_best_simd();
    return points >= best->lanes * best->lanes ? best : &nv_simd_baseline;
}

static void *allocate(size_t bytes, size_t *total) {
    bytes = (bytes + 63) / 64 * 64;
    void *memory = aligned_alloc(64, bytes);
    if (memory) memset(memory, 0, bytes);
    if (total) *total += bytes;
    return memory;
}

/* ---- transform tables ---------------------------------------------------------------------------------------------------- */

static void fft_free(nv_fft *fft) {
    for (int i = 0; i < fft->passes; i++) free(fft->pass[i].twiddles);
    free(fft->twist);
    *fft = (nv_fft){0};
}

static int fft_init(nv_fft *fft, int points, int lanes, size_t *total) {
    *fft = (nv_fft){.points = points};
    int span = points, doublings = 0;
    while (points / lanes >> doublings > 1) doublings++;
    while (doublings > 0) {
        int radix = doublings % 2 ? 2 : 4, quarter = span / radix, at = fft->passes++;
        fft->pass[at].span = span, fft->pass[at].radix = radix;
        float *w = fft->pass[at].twiddles = allocate((size_t)quarter * (radix - 1) * 2 * sizeof(float), total);
        if (!w) return NV_E_MEMORY;
        for (int n = 0; n < quarter; n++)
            for (int leg = 1; leg < radix; leg++) {
                double angle = -2 * M_PI * n * leg / span;
                float *to = w + (n / lanes * (radix - 1) + leg - 1) * 2 * lanes + n % lanes;
                to[0] = (float)cos(angle), to[lanes] = (float)sin(angle);
            }
        span /= radix, doublings -= radix / 2;
    }
    fft->twist = allocate((size_t)points * 2 * sizeof(float), total);
    if (!fft->twist) return NV_E_MEMORY;
    for (int n = 0; n < points; n++) {
        float *to = fft->twist + n / lanes * 2 * lanes + n % lanes;
        to[0] = (float)cos(M_PI * n / (2.0 * points)), to[lanes] = (float)-sin(M_PI * n / (2.0 * points));
    }
    return NV_OK;
}

/* ---- spectra ------------------------------------------------------------------------------------------------------------- */

/* What nv_prepare writes, aligned to 64 bytes, native byte order (it never leaves the machine):
 *
 *   offset  bytes  field
 *        0      4  magic "nvsp"
 *        4      4  layout version
 *        8      4  IR channels, 1, 2 or 4
 *       12      4  taps
 *       16      8  bytes of all
 *       24      8  fingerprint of the layout
 *       64     ..  for each stage, for each IR channel: partitions that the IR reaches into, as float32
 *                  [pair of vectors][partition][2 vectors: re, im, re, im]
 */
typedef struct {
    char magic[4];
    uint32_t version, channels, taps;
    uint64_t bytes, layout;
} spectra_header;
enum { SPECTRA_HEADER_BYTES = 64 };
static const char SPECTRA_MAGIC[4] = "nvsp";

/* FNV-1a. */
static uint64_t fingerprint(const nv_layout *layout) {
    const unsigned char *p = (const unsigned char *)layout;
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < sizeof *layout; i++) hash = (hash ^ p[i]) * 1099511628211u;
    return hash;
}

static int reached(const nv_stage *stage, int taps) {
    int beyond = taps - (int)stage->offset_taps, size = (int)stage->partition_frames;
    int partitions = beyond <= 0 ? 0 : (beyond + size - 1) / size;
    return partitions < (int)stage->partitions ? partitions : (int)stage->partitions;
}

static size_t stage_floats(const nv_stage *stage, int taps) { return (size_t)reached(stage, taps) * stage->partition_frames * 2; }

size_t nv_spectra_bytes(const nv_layout *layout, int ir_channels, int taps) {
    size_t floats = 0;
    for (uint32_t s = 0; s < layout->stages; s++) floats += stage_floats(&layout->stage[s], taps);
    return SPECTRA_HEADER_BYTES + (size_t)ir_channels * floats * sizeof(float);
}

static int channels_fit(const nv_layout *layout, uint32_t channels) {
    return channels == 1 || channels == 2 || (channels == 4 && layout->inputs == 2);
}

/* The whole forward transform of one frame into partition `partition` of `partitions`. */
static void transform(const nv_simd *simd, const nv_fft *fft, const float *previous, const float *current, float *z, float *spectra,
                      int partitions, int partition) {
    int vectors = fft->points / simd->lanes;
    simd->load(fft, previous, current, z, 0, vectors);
    for (int pass = 0; pass < fft->passes; pass++) simd->forward(fft, pass, z, 0, vectors / fft->pass[pass].radix);
    simd->to_spectrum(z, spectra + partition * 4 * simd->lanes, (size_t)partitions * 4 * simd->lanes, 0, vectors / simd->lanes);
}

int nv_prepare(const nv_layout *layout, const float *const *ir, int ir_channels, int taps, void *spectra, size_t bytes) {
    int error = nv_layout_check(layout);
    if (error) return error;
    if (taps < 1 || taps > (int)layout->max_taps) return NV_E_TAPS;
    if (!channels_fit(layout, (uint32_t)ir_channels)) return NV_E_CHANNELS;
    size_t needed = nv_spectra_bytes(layout, ir_channels, taps);
    if (bytes < needed || (uintptr_t)spectra % 64) return NV_E_SIZE;
    for (int c = 0; c < ir_channels; c++)
        for (int i = 0; i < taps; i++)
            if (!isfinite(ir[c][i])) return NV_E_VALUE;
    memset(spectra, 0, SPECTRA_HEADER_BYTES); /* not to be taken for whole while it is being written */
    float *to = (float *)((char *)spectra + SPECTRA_HEADER_BYTES);
    for (uint32_t s = 0; s < layout->stages; s++) {
        const nv_stage *stage = &layout->stage[s];
        int size = (int)stage->partition_frames, partitions = reached(stage, taps);
        if (!partitions) continue;
        const nv_simd *simd = simd_for(size);
        nv_fft fft;
        error = fft_init(&fft, size, simd->lanes, NULL);
        float *work = allocate((size_t)size * 4 * sizeof(float), NULL); /* z, a partition's taps, zeros */
        if (error || !work) {
            fft_free(&fft), free(work);
            return NV_E_MEMORY;
        }
        float *z = work, *part = work + 2 * size, *zeros = work + 3 * size;
        for (int c = 0; c < ir_channels; c++, to += (size_t)partitions * size * 2)
            for (int p = 0; p < partitions; p++) {
                int from = (int)stage->offset_taps + p * size;
                for (int i = 0; i < size; i++) part[i] = from + i < taps ? ir[c][from + i] / (float)size : 0;
                transform(simd, &fft, part, zeros, z, to, partitions, p);
            }
        fft_free(&fft), free(work);
    }
    *(spectra_header *)spectra = (spectra_header){
        .version = layout->version,
        .channels = (uint32_t)ir_channels,
        .taps = (uint32_t)taps,
        .bytes = needed,
        .layout = fingerprint(layout),
    };
    memcpy(spectra, SPECTRA_MAGIC, sizeof SPECTRA_MAGIC);
    return NV_OK;
}

int nv_spectra_check(const nv_layout *layout, const void *spectra, size_t bytes) {
    const spectra_header *h = spectra;
    if (bytes < SPECTRA_HEADER_BYTES || (uintptr_t)spectra % 64) return NV_E_SIZE;
    if (memcmp(h->magic, SPECTRA_MAGIC, sizeof SPECTRA_MAGIC) || h->version != layout->version) return NV_E_SPECTRA;
    if (h->layout != fingerprint(layout) || !channels_fit(layout, h->channels)) return NV_E_SPECTRA;
    if (h->taps < 1 || h->taps > layout->max_taps) return NV_E_SPECTRA;
    if (h->bytes > bytes || h->bytes != nv_spectra_bytes(layout, (int)h->channels, (int)h->taps)) return NV_E_SPECTRA;
    return NV_OK;
}

/* ---- stages -------------------------------------------------------------------------------------------------------------- */

enum { OLD, NEW, SIDES }; /* the playing IR, and the one that fades in */
enum { LOAD, FORWARD, TO_SPECTRUM, MULTIPLY, FROM_SPECTRUM, INVERSE, UNLOAD, SILENCE };
enum { MAX_PATHS = 2, MAX_STEPS = 2 * (3 + NV_MAX_PASSES) + SIDES * NV_OUTPUTS * (3 + NV_MAX_PASSES) };

typedef struct {
    int kind, channel, side, pass; /* channel: an input, or from MULTIPLY on an output */
    int part;                      /* of the stage: the IR that MULTIPLY reads */
    int units, grain;              /* a slice is a multiple of `grain` units */
    float cost;                    /* of a unit */
} step;

/* A stage's part of an IR: which filter takes which input to which output. */
typedef struct {
    int count[NV_OUTPUTS], partitions;
    struct {
        int input;
        const float *filter;
    } path[NV_OUTPUTS][MAX_PATHS];
} part;

typedef struct {
    int size, blocks, partitions; /* frames of a partition, the same in blocks, partitions of the ring */
    const nv_simd *simd;
    nv_fft fft;
    float *ring[2], *z;
    float *output[2][SIDES][NV_OUTPUTS]; /* [buffer]: one is being added, the other being written */
    int newest, adding;                  /* partition of the ring written last; buffer being added */
    /* The IR that plays and the one that fades in; the third is for a job that is still at work on the crossfade before. */
    part parts[3];
    int current, next, previous;
    int fading;   /* jobs compute both sides */
    int faded;    /* frames of the crossfade that have been added; -1: its first output has not come */
    int both[2];  /* [buffer]: holds both sides of a crossfade that is not over */
    int plain[2]; /* [buffer]: the side to be heard outside of a crossfade */
    /* the job */
    step steps[MAX_STEPS];
    int step_count, at_step, at_unit;
    float cost, done;
    long input_end; /* the frame after the job's input */
} stage;

struct nv_kernel {
    nv_layout layout;
    int block, inputs, stages, ring_frames, fade_frames;
    float *input[2]; /* ring of the last frames, long enough for the largest job */
    long frames;     /* taken in so far */
    stage stage[NV_MAX_STAGES];
    const void *playing, *incoming;
    int fading;
    size_t bytes;
};

/* Costs of a unit, in instructions (the proportions are what counts): counted by callgrind, see `nverb bench kernel`. */
static float unit_cost(const stage *s, int kind, int pass, int products) {
    int wide = s->simd->lanes == 8;
    switch (kind) {
    case LOAD: return 10;
    case FORWARD:
    case INVERSE: return s->fft.pass[pass].radix == 2 ? 18 : 50;
    case TO_SPECTRUM:
    case FROM_SPECTRUM: return wide ? 150 : 60;
    case MULTIPLY: return 30 + 17.0f * (float)products;
    default: return 8;
    }
}

static void add_step(stage *s, int kind, int channel, int side, int pass, int units, int grain, int products) {
    float cost = unit_cost(s, kind, pass, products);
    s->steps[s->step_count++] = (step){kind, channel, side, pass, side == NEW ? s->next : s->current, units, grain, cost};
    s->cost += cost * (float)units;
}

/* The list of the next job: all inputs forward, then each output of each side. */
static void plan_job(stage *s, int inputs) {
    int vectors = s->size / s->simd->lanes;
    s->step_count = s->at_step = s->at_unit = 0;
    s->cost = s->done = 0;
    for (int c = 0; c < inputs; c++) {
        add_step(s, LOAD, c, OLD, 0, vectors, 16, 0);
        for (int pass = 0; pass < s->fft.passes; pass++)
            add_step(s, FORWARD, c, OLD, pass, vectors / s->fft.pass[pass].radix, 8, 0);
        add_step(s, TO_SPECTRUM, c, OLD, 0, vectors / s->simd->lanes, 2, 0);
    }
    for (int side = OLD; side <= (s->fading ? NEW : OLD); side++) {
        const part *p = &s->parts[side == NEW ? s->next : s->current];
        for (int c = 0; c < NV_OUTPUTS; c++) {
            if (!p->partitions) { /* the IR ends before this stage */
                add_step(s, SILENCE, c, side, 0, 1, 1, 0);
                continue;
            }
            add_step(s, MULTIPLY, c, side, 0, vectors / 2, 1, p->count[c] * p->partitions);
            add_step(s, FROM_SPECTRUM, c, side, 0, vectors / s->simd->lanes, 2, 0);
            for (int pass = s->fft.passes - 1; pass >= 0; pass--)
                add_step(s, INVERSE, c, side, pass, vectors / s->fft.pass[pass].radix, 8, 0);
            add_step(s, UNLOAD, c, side, 0, vectors, 16, 0);
        }
    }
}

static void do_step(const nv_kernel *k, stage *s, const step *t, int from, int to) {
    const nv_simd *simd = s->simd;
    switch (t->kind) {
    case LOAD: {
        const float *ring = k->input[t->channel];
        long mask = k->ring_frames - 1;
        simd->load(&s->fft, ring + ((s->input_end - 2 * s->size) & mask), ring + ((s->input_end - s->size) & mask), s->z, from, to);
        break;
    }
    case FORWARD: simd->forward(&s->fft, t->pass, s->z, from, to); break;
    case TO_SPECTRUM: {
        size_t stride = (size_t)s->partitions * 4 * simd->lanes;
        simd->to_spectrum(s->z, s->ring[t->channel] + s->newest * 4 * simd->lanes, stride, from, to);
        break;
    }
    case MULTIPLY: {
        const part *p = &s->parts[t->part];
        nv_path paths[MAX_PATHS];
        for (int i = 0; i < p->count[t->channel]; i++)
            paths[i] = (nv_path){
                .input = s->ring[p->path[t->channel][i].input],
                .filter = p->path[t->channel][i].filter,
                .ring_partitions = s->partitions,
                .newest = s->newest,
                .partitions = p->partitions,
            };
        simd->multiply(paths, p->count[t->channel], s->z, from, to);
        break;
    }
    case FROM_SPECTRUM: simd->from_spectrum(s->z, from, to); break;
    case INVERSE: simd->inverse(&s->fft, t->pass, s->z, from, to); break;
    case SILENCE: memset(s->output[!s->adding][t->side][t->channel], 0, (size_t)s->size * sizeof(float)); break;
    case UNLOAD: simd->unload(&s->fft, s->z, s->output[!s->adding][t->side][t->channel], from, to); break;
    }
}

/* Works on the job until `share` of its cost is done. */
static void work(const nv_kernel *k, stage *s, float share) {
    float target = share * s->cost;
    while (s->at_step < s->step_count && (share >= 1 || s->done < target)) {
        const step *t = &s->steps[s->at_step];
        int left = t->units - s->at_unit, units = left;
        if (share < 1) {
            float wanted = (target - s->done) / t->cost;
            if (wanted < (float)left) units = ((int)wanted + t->grain) / t->grain * t->grain;
            if (units > left) units = left;
        }
        do_step(k, s, t, s->at_unit, s->at_unit + units);
        s->done += (float)units * t->cost;
        s->at_unit += units;
        if (s->at_unit == t->units) s->at_unit = 0, s->at_step++;
    }
}

/* The finished job's output is added from now on, and a new job begins on the `size` frames before `input_end`. */
static void turn_over(const nv_kernel *k, stage *s, long input_end) {
    work(k, s, 1);
    s->adding = !s->adding;
    if (s->fading && s->both[s->adding] && s->faded < 0) s->faded = 0;
    s->both[!s->adding] = s->fading;
    s->plain[!s->adding] = OLD;
    s->newest = s->newest ? s->newest - 1 : s->partitions - 1;
    s->input_end = input_end;
    plan_job(s, k->inputs);
}

/* ---- crossfades ---------------------------------------------------------------------------------------------------------- */

static float fade_gain(const nv_kernel *k, int frame) {
    return frame >= k->fade_frames ? 1.0f : 0.5f - 0.5f * cosf((float)M_PI * (float)frame / (float)k->fade_frames);
}

/* Adds a block of the stage's output from frame `at` of its buffer. The raised cosine is drawn in straight pieces of 16 frames:
 * within 0.02 % of it for fades of 5 ms and more, and no library call for each frame. */
static void add_block(const nv_kernel *k, stage *s, int at, float *const *out) {
    enum { PIECE = 16 };
    float *(*buffer)[NV_OUTPUTS] = s->output[s->adding];
    if (!s->both[s->adding] || s->faded < 0) {
        for (int c = 0; c < NV_OUTPUTS; c++) s->simd->add(out[c], buffer[s->plain[s->adding]][c] + at, NULL, 0, 0, k->block);
        return;
    }
    if (s->faded >= k->fade_frames) {
        for (int c = 0; c < NV_OUTPUTS; c++) s->simd->add(out[c], buffer[NEW][c] + at, NULL, 0, 0, k->block);
        return;
    }
    for (int i = 0; i < k->block; i += PIECE) {
        float g0 = fade_gain(k, s->faded + i), g1 = fade_gain(k, s->faded + i + PIECE);
        for (int c = 0; c < NV_OUTPUTS; c++)
            s->simd->add(out[c] + i, buffer[OLD][c] + at + i, buffer[NEW][c] + at + i, g0, (g1 - g0) / PIECE, PIECE);
    }
    s->faded += k->block;
}

/* The stage's part of a whole IR. NULL: silence. */
static part find_part(const nv_kernel *k, int index, const void *spectra) {
    part p = {0};
    if (!spectra) return p;
    const spectra_header *h = spectra;
    int taps = (int)h->taps, channels = (int)h->channels;
    const float *at = (const float *)((const char *)spectra + SPECTRA_HEADER_BYTES);
    for (int s = 0; s < index; s++) at += (size_t)channels * stage_floats(&k->layout.stage[s], taps);
    size_t floats = stage_floats(&k->layout.stage[index], taps);
    p.partitions = reached(&k->layout.stage[index], taps);
    for (int o = 0; o < NV_OUTPUTS; o++) {
        p.count[o] = channels == 4 ? 2 : 1;
        for (int i = 0; i < p.count[o]; i++) {
            int input = channels == 4 ? i : o < k->inputs ? o : 0;
            int channel = channels == 4 ? 2 * i + o : channels == 2 ? o : 0;
            p.path[o][i].input = input;
            p.path[o][i].filter = at + (size_t)channel * floats;
        }
    }
    return p;
}

int nv_kernel_load(nv_kernel *k, const void *spectra) {
    if (k->fading) return NV_E_BUSY;
    for (int i = 0; i < k->stages; i++) {
        stage *s = &k->stage[i];
        s->next = (s->current + 1) % 3 == s->previous ? (s->current + 2) % 3 : (s->current + 1) % 3;
        s->parts[s->next] = find_part(k, i, spectra);
        s->fading = 1;
        s->faded = -1;
    }
    k->incoming = spectra;
    k->fading = 1;
    return NV_OK;
}

/* When the last stage's crossfade is over, the new side becomes the old one everywhere, and the old spectra are free: what a job
 * under way still owes to the old side it makes from the new spectra, and nobody hears it. */
static void end_fades(nv_kernel *k) {
    int still = 0;
    for (int i = 0; i < k->stages; i++) still |= k->stage[i].faded < k->fade_frames;
    if (still) return;
    for (int i = 0; i < k->stages; i++) {
        stage *s = &k->stage[i];
        s->parts[s->current] = s->parts[s->next];
        s->previous = s->current;
        s->current = s->next;
        s->fading = 0;
        for (int buffer = 0; buffer < 2; buffer++)
            if (s->both[buffer]) s->both[buffer] = 0, s->plain[buffer] = NEW;
    }
    k->playing = k->incoming;
    k->incoming = NULL;
    k->fading = 0;
}

/* ---- the block ----------------------------------------------------------------------------------------------------------- */

void nv_kernel_process(nv_kernel *k, const float *const *in, float *const *out) {
    long at = k->frames & (k->ring_frames - 1), end = k->frames + k->block;
    for (int c = 0; c < k->inputs; c++) memcpy(k->input[c] + at, in[c], (size_t)k->block * sizeof(float));
    for (int c = 0; c < NV_OUTPUTS; c++) memset(out[c], 0, (size_t)k->block * sizeof(float));
    stage *first = &k->stage[0];
    first->newest = first->newest ? first->newest - 1 : first->partitions - 1;
    first->input_end = end;
    plan_job(first, k->inputs);
    first->both[!first->adding] = first->fading;
    first->plain[!first->adding] = OLD;
    work(k, first, 1);
    first->adding = !first->adding;
    if (first->fading && first->faded < 0) first->faded = 0;
    add_block(k, first, 0, out);
    for (int i = 1; i < k->stages; i++) {
        stage *s = &k->stage[i];
        int phase = (int)(end / k->block % s->blocks);
        if (phase == 0) turn_over(k, s, end);
        work(k, s, (float)(phase + 1) / (float)s->blocks);
        add_block(k, s, phase * k->block, out);
    }
    k->frames = end;
    if (k->fading) end_fades(k);
}

/* ---- life ---------------------------------------------------------------------------------------------------------------- */

static int stage_init(nv_kernel *k, stage *s, const nv_stage *from) {
    s->size = (int)from->partition_frames;
    s->blocks = s->size / k->block;
    s->partitions = (int)from->partitions;
    s->simd = simd_for(s->size);
    if (fft_init(&s->fft, s->size, s->simd->lanes, &k->bytes)) return NV_E_MEMORY;
    s->z = allocate((size_t)s->size * 2 * sizeof(float), &k->bytes);
    int whole = s->z != NULL;
    for (int c = 0; c < k->inputs; c++)
        whole &= (s->ring[c] = allocate((size_t)s->partitions * s->size * 2 * sizeof(float), &k->bytes)) != NULL;
    for (int i = 0; i < 2 * SIDES * NV_OUTPUTS; i++) {
        float **buffer = &s->output[i / (SIDES * NV_OUTPUTS)][i / NV_OUTPUTS % SIDES][i % NV_OUTPUTS];
        whole &= (*buffer = allocate((size_t)s->size * sizeof(float), &k->bytes)) != NULL;
    }
    if (whole) plan_job(s, k->inputs);
    return whole ? NV_OK : NV_E_MEMORY;
}

nv_kernel *nv_kernel_new(const nv_layout *layout, int fade_frames, int *error) {
    int ignored;
    if (!error) error = &ignored;
    *error = nv_layout_check(layout);
    if (*error) return NULL;
    nv_kernel *k = calloc(1, sizeof *k);
    *error = NV_E_MEMORY;
    if (!k) return NULL;
    k->bytes = sizeof *k;
    k->layout = *layout;
    k->block = (int)layout->block_frames;
    k->inputs = (int)layout->inputs;
    nv_kernel_set_fade(k, fade_frames);
    for (k->stages = 0; k->stages < (int)layout->stages; k->stages++)
        if (stage_init(k, &k->stage[k->stages], &layout->stage[k->stages])) {
            k->stages++; /* free what it has got */
            nv_kernel_free(k);
            return NULL;
        }
    /* A job loads its two partitions while up to one more comes in. */
    k->ring_frames = 4 * k->stage[k->stages - 1].size;
    for (int c = 0; c < k->inputs; c++)
        if (!(k->input[c] = allocate((size_t)k->ring_frames * sizeof(float), &k->bytes))) {
            nv_kernel_free(k);
            return NULL;
        }
    nv_kernel_reset(k);
    *error = NV_OK;
    return k;
}

void nv_kernel_free(nv_kernel *k) {
    if (!k) return;
    for (int i = 0; i < k->stages; i++) {
        stage *s = &k->stage[i];
        fft_free(&s->fft);
        free(s->z), free(s->ring[0]), free(s->ring[1]);
        for (int b = 0; b < 2 * SIDES * NV_OUTPUTS; b++) free(s->output[b / (SIDES * NV_OUTPUTS)][b / NV_OUTPUTS % SIDES][b % NV_OUTPUTS]);
    }
    free(k->input[0]), free(k->input[1]);
    free(k);
}

void nv_kernel_reset(nv_kernel *k) {
    for (int c = 0; c < k->inputs; c++) memset(k->input[c], 0, (size_t)k->ring_frames * sizeof(float));
    for (int i = 0; i < k->stages; i++) {
        stage *s = &k->stage[i];
        for (int c = 0; c < k->inputs; c++) memset(s->ring[c], 0, (size_t)s->partitions * s->size * 2 * sizeof(float));
        for (int b = 0; b < 2 * SIDES * NV_OUTPUTS; b++)
            memset(s->output[b / (SIDES * NV_OUTPUTS)][b / NV_OUTPUTS % SIDES][b % NV_OUTPUTS], 0, (size_t)s->size * sizeof(float));
        s->at_step = s->step_count; /* nothing under way */
    }
    k->frames = 0;
}

const void *nv_kernel_playing(const nv_kernel *k) { return k->playing; }
const void *nv_kernel_incoming(const nv_kernel *k) { return k->incoming; }
int nv_kernel_fading(const nv_kernel *k) { return k->fading; }
void nv_kernel_set_fade(nv_kernel *k, int fade_frames) { k->fade_frames = fade_frames < 1 ? 1 : fade_frames; }
size_t nv_kernel_bytes(const nv_kernel *k) { return k->bytes; }
