/* The convolution engine: spectra, stages, the spreading of work, crossfades. The contract is kernel.h.
 *
 * Non-uniform partitioned convolution by overlap-save (Gardner 1995; Garcia 2002; Wefers 2015). Each stage convolves with its
 * stretch of the IR in partitions of one size, with a ring of input spectra (a frequency-domain delay line) that both IRs of a
 * crossfade read. The first stage works and answers within its block. The work of a later one, its *job*, is a list of steps, and
 * each block does its share of the job's cost, cut in the middle of a step where need be: no threads, no deadlines but the
 * block's own, and a worst block that costs about what the mean block does (the idea of Battenberg & Avizienis 2011, in one
 * thread).
 *
 * A stage of P frames, M = P / B blocks and a delay of K blocks (kernel_plan.c), in its steady course:
 *
 *     input     |<------- P frames, M blocks ------->|<-- the next P frames ------------->|
 *     job                                            |== urgent ==|======= early =========|
 *     output                                         |<--- K ---->|<-- its P frames are added, B at a time -->|
 *
 *     urgent    transform each input; products with the newest partition, on top of the sums that the job before left; transform back
 *     early     for the next job: sums of products with all older partitions, whose spectra are there by now
 *
 * A stage with K = M - 1 has no early part: its job makes all products at once.
 *
 * A crossfade is made in the time domain, stage by stage, along a raised cosine. Its times are fixed when the IR is loaded: the new
 * IR answers from job `first_job` on and is faded in over blocks fade_from .. fade_to; from then on the stage knows the new IR only.
 * A stage with an early part must make the sums of `first_job` for the new IR from nothing: that is the *catch-up*, a second list
 * of steps, spread evenly from the load to fade_from. A stage whose partitions are longer than the fade lets it float within the span of one
 * job's output, so that one catch-up is all that the change costs, and takes the latest job that ends within CHANGE_FRAMES, so that the
 * catch-up has the most time.
 *
 * Files: kernel_simd.c (inner loops, one object for each instruction set), kernel_plan.c (partition sizes), kernel.c.
 */
#include "kernel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "denormals.h"
#include "kernel_layout.h"

enum { CHANGE_FRAMES = 4800, TWICE_FRAMES = 4096 };

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

const nv_simd *nv_simd_for(int points) {
    const nv_simd *best = nv_best_simd();
    return points >= 4 * best->lanes ? best : &nv_simd_baseline;
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
    for (int i = 0; i < fft->passes; i++) free(fft->pass[i].roots);
    free(fft->group_roots);
    *fft = (nv_fft){0};
}

static void put_root(float *to, int stride, double angle) { to[0] = (float)cos(angle), to[stride] = (float)sin(angle); }

/* The roots within four vectors of nodes x^lanes = exp(i angle), by lane. Four lanes: r^2, r of the nodes. Eight: r of two nodes
 * each, in halves; then r^2, r of their children x^4 = +-r, which transpose_complex() leaves in the order A+ A- C+ C- B+ B- D+ D-. */
static void put_lane_roots(float *to, const double *angle, int lanes) {
    for (int lane = 0; lane < lanes; lane++, to++) {
        double own = angle[lane % 4];
        float *last = to;
        if (lanes == 8) {
            put_root(to, lanes, angle[lane / 4] / 2), put_root(to + 2 * lanes, lanes, angle[2 + lane / 4] / 2);
            own = angle[lane % 4 / 2 * 2 + lane / 4] / 2 + lane % 2 * M_PI;
            last += 4 * lanes;
        }
        put_root(last, lanes, own / 2), put_root(last + 2 * lanes, lanes, own / 4);
    }
}

/* The tree of roots in kernel_simd.c. A node stands for x^S = exp(i angle), at first x^P = i; its children, numbered on, for
 * x^(S/n) = exp(i (angle + 2 pi k) / n), k = 0 .. n - 1. */
static int fft_init(nv_fft *fft, int points, int lanes, size_t *total) {
    int doublings = nv_doublings(points, lanes), nodes = 1, span = points, group = 8 + 2 * lanes * (lanes == 8 ? 4 : 2);
    *fft = (nv_fft){.points = points, .last = doublings > 2};
    double *angle = malloc((size_t)(points / lanes) * sizeof *angle);
    fft->group_roots = allocate((size_t)(points / lanes / 4 * group) * sizeof(float), total);
    int whole = angle && fft->group_roots;
    if (whole) angle[0] = M_PI / 2;
    while (whole && doublings > 0) {
        int radix = doublings % 2 ? 2 : 4, powers = radix - 1, stride = 2 * powers;
        float *roots = fft->group_roots;
        if (doublings == 2 && fft->last) {
            stride = group;
        } else {
            int at = fft->passes++;
            roots = allocate((size_t)(nodes * stride) * sizeof(float), total);
            fft->pass[at].span = span, fft->pass[at].radix = radix, fft->pass[at].roots = roots;
            if (!(whole = roots != NULL)) break;
        }
        for (int n = nodes - 1; n >= 0; n--) { /* from the last, as children take their parents' places */
            double own = angle[n];
            for (int k = 1; k <= powers; k++) put_root(roots + n * stride + 2 * (k - 1), 1, own * k / radix);
            for (int k = 0; k < radix; k++) angle[n * radix + k] = (own + 2 * M_PI * k) / radix;
        }
        nodes *= radix, span /= radix, doublings -= radix / 2;
    }
    for (int n = 0; whole && n < nodes; n += 4) put_lane_roots(fft->group_roots + n / 4 * group + 8, angle + n, lanes);
    free(angle);
    return whole ? NV_OK : NV_E_MEMORY;
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
                      int partitions, int partition, size_t again) {
    int vectors = fft->points / simd->lanes;
    simd->forward_first(fft, previous, current, z, 0, vectors / fft->pass[0].radix);
    for (int pass = 1; pass < fft->passes; pass++) simd->forward(fft, pass, z, 0, vectors / fft->pass[pass].radix);
    simd->to_spectrum(fft, z, spectra + partition * 4 * simd->lanes, (size_t)partitions * 4 * simd->lanes, again, 0, vectors / 4);
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
        const nv_simd *simd = nv_simd_for(size);
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
                transform(simd, &fft, part, zeros, z, to, partitions, p, 0);
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

enum { SIDES = 2 }; /* the IR that plays, and the one that is faded in, by turns */
enum { FORWARD_FIRST, FORWARD, TO_SPECTRUM, MULTIPLY, FROM_SPECTRUM, INVERSE, INVERSE_LAST, SILENCE };
enum { ALL, NEWEST, OLDER }; /* partitions that MULTIPLY takes */
enum { MAX_STEPS = 2 * (2 + NV_MAX_PASSES) + SIDES * NV_OUTPUTS * (4 + NV_MAX_PASSES) };

typedef struct {
    signed char kind, channel, side, pass, which, sums; /* channel: an input or an output; sums: the stage's set of them */
    int64_t job;                                         /* whose input is the newest */
    int units, grain;                                    /* a slice is a multiple of `grain` units */
    float cost;                                          /* of a unit */
} step;

typedef struct {
    step steps[MAX_STEPS];
    int count, urgent_steps, at_step, at_unit;
    float cost, urgent, done;
} work_list;

/* What a job's list depends on. */
typedef struct {
    int old, fresh, next_old, next_fresh; /* who answers in this job; whose sums are made for the next */
    int in_catch_up;                      /* the new IR's answer of this job is the catch-up's */
} job_plan;

/* A stage's part of an IR. */
typedef struct {
    int partitions, inputs, together; /* together: both outputs hear the same inputs, and their products are made in one step */
    nv_product product[NV_OUTPUTS][2]; /* [output][input], or together the first for all */
} part;

typedef struct {
    int size, blocks, delay, early;       /* P, M, K of the text above; whether there is an early part */
    int shift;                            /* M as a power of two */
    int inputs_kept, ring_partitions;     /* the ring holds so many inputs, a small one each of them twice: no wrap when it is read */
    size_t again;                         /* floats from the one to the other */
    const nv_simd *simd;
    const nv_costs *costs;
    nv_fft fft;
    float *ring[2], *z;                   /* spectra of the inputs; work space of their transforms */
    float *sums[SIDES][NV_OUTPUTS];       /* products summed up, then transformed back in place */
    float *output[SIDES][2][NV_OUTPUTS];  /* [side][odd or even job] */
    part parts[SIDES];
    int side;                             /* the one that plays */
    /* the job */
    int64_t job;
    int newest;                           /* partition of the ring that holds its input */
    job_plan plan;
    work_list main;
    int transforms;                       /* steps of it until the ring holds the job's input */
    int side_sums[SIDES], next_sums[SIDES]; /* the set of sums of this job, and of the next */
    int stale, beginning;                 /* the list is to be made anew; its first steps, see begin_list() */
    float beginning_cost;
    /* a change of IR */
    int changing, catching_up;
    int64_t first_job, fade_from, fade_to; /* a job; blocks */
    work_list catch_up;
} stage;

struct nv_kernel {
    nv_layout layout;
    int block, inputs, stages, ring_frames, fade_frames;
    float *input[2]; /* ring of the last frames, long enough for the largest job */
    int64_t blocks;  /* taken in so far */
    stage stage[NV_MAX_STAGES];
    const void *playing, *incoming;
    int fading;
    int64_t fast_until; /* block: the stages without catch-up are in their crossfades, which costs fast_cost more in each block */
    float fast_cost;
    float turn_re, turn_im; /* of the crossfade's phasor in a piece */
    size_t bytes;
};

/* ---- lists of steps ------------------------------------------------------------------------------------------------------ */

static step *add_step(work_list *list, int kind, int channel, int units, int grain, float cost) {
    step *t = &list->steps[list->count++];
    *t = (step){.kind = (signed char)kind, .channel = (signed char)channel, .units = units, .grain = grain, .cost = cost};
    list->cost += cost * (float)units;
    return t;
}

static void add_transform(const stage *s, work_list *list, int input, int64_t job) {
    int vectors = s->size / s->simd->lanes;
    const nv_costs *c = s->costs;
    for (int pass = 0; pass < s->fft.passes; pass++) {
        int radix = s->fft.pass[pass].radix;
        float cost = pass ? c->pass4 : radix == 2 ? c->first2 : c->first4;
        step *t = add_step(list, pass ? FORWARD : FORWARD_FIRST, input, vectors / radix, 4, cost);
        t->pass = (signed char)pass, t->job = job;
    }
    add_step(list, TO_SPECTRUM, input, vectors / 4, 1, c->to_spectrum)->job = job;
}

static void add_products(const stage *s, work_list *list, int side, int which, int sums, int64_t job) {
    const part *p = &s->parts[side];
    const nv_costs *c = s->costs;
    if (!p->partitions || (which == OLDER && p->partitions == 1)) return;
    int products = which == NEWEST ? 1 : which == OLDER ? p->partitions - 1 : p->partitions;
    for (int o = 0; o < (p->together ? 1 : NV_OUTPUTS); o++) {
        float cost = p->together ? c->shared_pair + c->shared_product * (float)(products * p->inputs)
                                 : (c->pair + c->product * (float)products) * (float)p->inputs;
        step *t = add_step(list, MULTIPLY, o, s->size / s->simd->lanes / 2, 1, cost);
        t->side = (signed char)side, t->which = (signed char)which, t->sums = (signed char)sums, t->job = job;
    }
}

/* From sums to output. */
static void add_answer(const stage *s, work_list *list, int side, int sums, int64_t job) {
    int vectors = s->size / s->simd->lanes, silent = !s->parts[side].partitions;
    const nv_costs *c = s->costs;
    for (int o = 0; o < NV_OUTPUTS; o++) {
        int from = list->count;
        if (silent) {
            add_step(list, SILENCE, o, 1, 1, (float)vectors);
        } else {
            add_step(list, FROM_SPECTRUM, o, vectors / 4, 1, c->from_spectrum);
            for (int pass = s->fft.passes - 1; pass >= 0; pass--) {
                int radix = s->fft.pass[pass].radix;
                float cost = pass ? c->inverse4 : radix == 2 ? c->last2 : c->last4;
                add_step(list, pass ? INVERSE : INVERSE_LAST, o, vectors / radix, 4, cost)->pass = (signed char)pass;
            }
        }
        for (int i = from; i < list->count; i++) {
            step *t = &list->steps[i];
            t->side = (signed char)side, t->sums = (signed char)sums, t->job = job;
        }
    }
}

/* Which IRs answer in a job: the playing one until its crossfade is over, the new one from `first_job` on. */
static int plays_in(const stage *s, int64_t job) { return !s->changing || job * s->blocks + s->delay < s->fade_to; }
static int fades_in(const stage *s, int64_t job) { return s->changing && job >= s->first_job; }

static job_plan plan_for(const stage *s) {
    int first = s->changing && s->early && s->job == s->first_job;
    return (job_plan){
        .old = plays_in(s, s->job),
        .fresh = fades_in(s, s->job) && !first,
        .next_old = s->early && plays_in(s, s->job + 1),
        .next_fresh = s->early && fades_in(s, s->job + 1) && s->job + 1 > s->first_job,
        .in_catch_up = first,
    };
}

/* The list begins with the transforms and the playing IR's answer, which a change leaves as they are. */
static void begin_list(stage *s, int inputs) {
    work_list *list = &s->main;
    list->count = 0, list->cost = 0;
    for (int c = 0; c < inputs; c++) add_transform(s, list, c, s->job);
    s->transforms = list->count;
    if (s->plan.old) {
        add_products(s, list, s->side, s->early ? NEWEST : ALL, s->side_sums[s->side], s->job);
        add_answer(s, list, s->side, s->side_sums[s->side], s->job);
    }
    s->beginning = list->count, s->beginning_cost = list->cost;
}

static void end_list(stage *s) {
    work_list *list = &s->main;
    const job_plan *plan = &s->plan;
    int old = s->side, fresh = !old;
    list->count = s->beginning, list->cost = s->beginning_cost;
    if (plan->fresh) {
        add_products(s, list, fresh, s->early ? NEWEST : ALL, s->side_sums[fresh], s->job);
        add_answer(s, list, fresh, s->side_sums[fresh], s->job);
    }
    list->urgent = list->cost, list->urgent_steps = list->count;
    s->next_sums[old] = s->side_sums[old], s->next_sums[fresh] = !s->side_sums[old];
    /* The catch-up may be at work on the other set for some time yet. */
    if (!plan->next_old) s->next_sums[fresh] = plan->in_catch_up ? s->side_sums[old] : s->side_sums[fresh];
    if (plan->next_old) add_products(s, list, old, OLDER, s->next_sums[old], s->job + 1);
    if (plan->next_fresh) add_products(s, list, fresh, OLDER, s->next_sums[fresh], s->job + 1);
}

static void next_job(stage *s) {
    s->job++;
    s->newest = s->newest ? s->newest - 1 : s->inputs_kept - 1;
}

static void begin_job(const nv_kernel *k, stage *s) {
    work_list *list = &s->main;
    next_job(s);
    memcpy(s->side_sums, s->next_sums, sizeof s->side_sums);
    for (int i = 0; i < list->count; i++) list->steps[i].job++;
    job_plan before = s->plan, plan = s->plan = plan_for(s);
    int anew = s->stale || plan.old != before.old;
    if (anew) begin_list(s, k->inputs);
    if (anew || memcmp(&plan, &before, sizeof plan)) end_list(s);
    s->stale = 0;
    list->at_step = list->at_unit = 0, list->done = 0;
}

static void plan_catch_up(stage *s) {
    int side = !s->side, sums = s->side_sums[side] = s->next_sums[side] = !s->next_sums[s->side];
    s->catch_up.count = s->catch_up.at_step = s->catch_up.at_unit = 0;
    s->catch_up.cost = s->catch_up.done = 0;
    add_products(s, &s->catch_up, side, OLDER, sums, s->first_job);
    s->catch_up.urgent = s->catch_up.cost; /* what can be done before the job's input is there */
    add_products(s, &s->catch_up, side, NEWEST, sums, s->first_job);
    add_answer(s, &s->catch_up, side, sums, s->first_job);
    s->catching_up = 1;
}

/* ---- work ---------------------------------------------------------------------------------------------------------------- */

/* The partition of the ring that holds the input of a job, the last, the one before or the next. */
static int newest(const stage *s, int64_t job) {
    int at = s->newest + (int)(s->job - job);
    return at < 0 ? at + s->inputs_kept : at >= s->inputs_kept ? at - s->inputs_kept : at;
}

/* The input's frames that came in for the job. */
static const float *frames(const nv_kernel *k, const stage *s, int input, int64_t job) {
    return k->input[input] + ((job - 1) * s->size & (k->ring_frames - 1));
}

static inline __attribute__((always_inline)) void multiply(const stage *s, const part *part, int output, int which, int64_t job,
                                                           float *const *sums, int from, int to) {
    int first = which == OLDER, last = which == NEWEST ? 1 : part->partitions, at = newest(s, job);
    int more = which == NEWEST && part->partitions > 1;
    s->simd->multiply(&part->product[output][0], at, first, last, sums + output, more, from, to);
    if (!part->together && part->inputs == 2) s->simd->multiply(&part->product[output][1], at, first, last, sums + output, 1, from, to);
}

static void do_step(const nv_kernel *k, stage *s, const step *t, int from, int to) {
    const nv_simd *simd = s->simd;
    float *sums = s->sums[t->sums][t->channel], *z = s->z;
    float *output = s->output[t->side][t->job & 1][t->channel];
    switch (t->kind) {
    case FORWARD_FIRST: simd->forward_first(&s->fft, frames(k, s, t->channel, t->job - 1), frames(k, s, t->channel, t->job), z, from, to); break;
    case FORWARD: simd->forward(&s->fft, t->pass, z, from, to); break;
    case TO_SPECTRUM: {
        size_t stride = (size_t)s->ring_partitions * 4 * simd->lanes;
        simd->to_spectrum(&s->fft, z, s->ring[t->channel] + newest(s, t->job) * 4 * simd->lanes, stride, s->again, from, to);
        break;
    }
    case MULTIPLY: multiply(s, &s->parts[t->side], t->channel, t->which, t->job, s->sums[t->sums], from, to); break;
    case FROM_SPECTRUM: simd->from_spectrum(&s->fft, sums, from, to); break;
    case INVERSE: simd->inverse(&s->fft, t->pass, sums, from, to); break;
    case INVERSE_LAST: simd->inverse_last(&s->fft, sums, output, from, to); break;
    case SILENCE: memset(output, 0, (size_t)s->size * sizeof(float)); break;
    }
}

/* Works on the list until its first `must` steps are done and `target` of its cost, to the nearest slice. */
static void work(const nv_kernel *k, stage *s, work_list *list, int must, float target) {
    while (list->at_step < list->count) {
        const step *t = &list->steps[list->at_step];
        int left = t->units - list->at_unit, units = left;
        if (list->at_step >= must) {
            float wanted = (target - list->done) / t->cost + 0.5f * (float)t->grain;
            if (wanted < (float)t->grain) return;
            if (wanted < (float)left) units = (int)wanted / t->grain * t->grain;
        }
        /* The set of sums that the catch-up uses is wanted for the job after. */
        if (s->catching_up && list == &s->main && t->which == OLDER && t->sums == s->catch_up.steps[0].sums)
            s->catching_up = 0, work(k, s, &s->catch_up, MAX_STEPS, 0);
        do_step(k, s, t, list->at_unit, list->at_unit + units);
        list->done += (float)units * t->cost;
        list->at_unit += units;
        if (list->at_unit == t->units) list->at_unit = 0, list->at_step++;
    }
}

static int ring_holds(const stage *s, int64_t job) { return job < s->job || (job == s->job && s->main.at_step >= s->transforms); }

/* The catch-up's share of a block: what makes it and the work of the stages that are in their crossfades already an even load until
 * fade_from. It waits where the ring does not hold its input yet. */
static void catch_up(const nv_kernel *k, stage *s) {
    work_list *list = &s->catch_up;
    if (!ring_holds(s, s->first_job - 1)) return;
    int64_t blocks = s->fade_from - k->blocks + 1, busy = k->fast_until - k->blocks;
    if (busy < 0) busy = 0;
    if (busy > blocks) busy = blocks;
    float share = (list->cost - list->done + k->fast_cost * (float)busy) / (float)blocks - (busy ? k->fast_cost : 0);
    float target = list->done + (share > 0 ? share : 0);
    if (!ring_holds(s, s->first_job) && target > list->urgent) target = list->urgent;
    work(k, s, list, blocks > 1 ? 0 : MAX_STEPS, target);
    s->catching_up = list->at_step < list->count;
}

static void work_block(const nv_kernel *k, stage *s) {
    int phase = (int)(k->blocks & (s->blocks - 1));
    work_list *list = &s->main;
    if (phase == 0) {
        work(k, s, list, MAX_STEPS, 0);
        begin_job(k, s);
    }
    float even = list->cost * (float)(phase + 1) / (float)s->blocks, urgent = list->urgent;
    if (phase < s->delay) urgent *= (float)(phase + 1) / (float)(s->delay + 1);
    work(k, s, list, phase < s->delay ? 0 : list->urgent_steps, even > urgent ? even : urgent);
    if (s->catching_up) catch_up(k, s);
}

/* out += this block of the stage's crossfade from `old` to `fresh` (out = it, if `old` is out). The raised cosine is drawn in
 * straight pieces, within 0.02 % of it for fades of 5 ms and more; its points are found by turning a phasor. */
static void fade(const nv_kernel *k, const stage *s, float *const *old, float *const *fresh, int at, float *const *out) {
    float gain[NV_MAX_BLOCK / NV_FADE_PIECE + 1];
    int pieces = k->block / NV_FADE_PIECE;
    int faded = (int)(k->blocks - s->fade_from) * k->block;
    float angle = (float)M_PI * (float)faded / (float)k->fade_frames, re = cosf(angle), im = sinf(angle);
    for (int i = 0; i <= pieces; i++) {
        gain[i] = faded + i * NV_FADE_PIECE >= k->fade_frames ? 1.0f : 0.5f - 0.5f * re;
        float turned = re * k->turn_re - im * k->turn_im;
        im = re * k->turn_im + im * k->turn_re, re = turned;
    }
    for (int c = 0; c < NV_OUTPUTS; c++) s->simd->add_faded(out[c], old == out ? NULL : old[c] + at, fresh[c] + at, gain, pieces);
}

/* The first stage's job, in one go: what the lists would do, without their cost. */
static void answer(const stage *s, int side, float *const *out) {
    const nv_simd *simd = s->simd;
    const nv_fft *fft = &s->fft;
    const part *p = &s->parts[side];
    int vectors = s->size / simd->lanes;
    for (int o = 0; o < NV_OUTPUTS; o++) {
        float *sums = s->sums[0][o];
        if (!p->partitions) {
            memset(out[o], 0, (size_t)s->size * sizeof(float));
            continue;
        }
        if (!o || !p->together) multiply(s, p, o, ALL, s->job, s->sums[0], 0, vectors / 2);
        simd->from_spectrum(fft, sums, 0, vectors / 4);
        for (int pass = fft->passes - 1; pass > 0; pass--) simd->inverse(fft, pass, sums, 0, vectors / 4);
        simd->inverse_last(fft, sums, out[o], 0, vectors / fft->pass[0].radix);
    }
}

static void work_first(const nv_kernel *k, stage *s, float *const *out) {
    next_job(s);
    for (int c = 0; c < k->inputs; c++)
        transform(s->simd, &s->fft, frames(k, s, c, s->job - 1), frames(k, s, c, s->job), s->z, s->ring[c], s->ring_partitions,
                  newest(s, s->job), s->again);
    answer(s, s->side, out);
    if (!s->changing) return;
    float **fresh = s->output[!s->side][0];
    answer(s, !s->side, fresh);
    fade(k, s, out, fresh, 0, out);
}

/* ---- output and crossfades ------------------------------------------------------------------------------------------------- */

static void add_output(const nv_kernel *k, stage *s, float *const *out) {
    int64_t since = k->blocks - s->delay + s->blocks; /* job -1, which is silence */
    int odd = !(since >> s->shift & 1), at = (int)(since & (s->blocks - 1)) * k->block;
    float **old = s->output[s->side][odd], **fresh = s->output[!s->side][odd];
    if (!s->changing || k->blocks < s->fade_from)
        for (int c = 0; c < NV_OUTPUTS; c++) s->simd->add(out[c], old[c] + at, k->block);
    else
        fade(k, s, old, fresh, at, out);
}

/* The stage's part of a whole IR. NULL: silence. */
static part find_part(const nv_kernel *k, int index, const void *spectra) {
    part p = {0};
    if (!spectra) return p;
    const spectra_header *h = spectra;
    const stage *s = &k->stage[index];
    int taps = (int)h->taps, channels = (int)h->channels;
    const float *at = (const float *)((const char *)spectra + SPECTRA_HEADER_BYTES);
    for (int i = 0; i < index; i++) at += (size_t)channels * stage_floats(&k->layout.stage[i], taps);
    size_t floats = stage_floats(&k->layout.stage[index], taps);
    p.partitions = reached(&k->layout.stage[index], taps);
    p.together = (channels == 4 || k->inputs == 1) && s->costs->shared_product < 2 * s->costs->product;
    p.inputs = channels == 4 ? 2 : 1;
    for (int o = 0; o < NV_OUTPUTS; o++)
        for (int i = 0; i < p.inputs; i++) {
            const float *filter[NV_OUTPUTS];
            for (int to = 0; to < NV_OUTPUTS; to++) filter[to] = at + floats * (size_t)(channels == 4 ? 2 * i + to : channels == 2 ? to : 0);
            nv_product *product = p.together ? &p.product[0][0] : &p.product[o][i];
            product->inputs = p.together ? p.inputs : 1, product->outputs = p.together ? NV_OUTPUTS : 1;
            product->ring_partitions = s->ring_partitions, product->filter_partitions = p.partitions;
            int at_input = p.together ? i : 0;
            product->input[at_input] = s->ring[channels == 4 || k->inputs == 1 ? i : o];
            for (int to = 0; to < product->outputs; to++) product->filter[at_input][to] = filter[p.together ? to : o];
        }
    return p;
}

int nv_kernel_load(nv_kernel *k, const void *spectra) {
    if (k->fading) return NV_E_BUSY;
    int64_t now = k->blocks, fade = (k->fade_frames + k->block - 1) / k->block, limit = now + CHANGE_FRAMES / k->block;
    k->fast_cost = 0;
    for (int i = 0; i < k->stages; i++) {
        stage *s = &k->stage[i];
        int floats = s->early && s->blocks >= fade;
        int64_t job = (now >> s->shift) + 1;
        while (floats && (job + 1) * s->blocks + s->delay + fade <= limit) job++;
        if (s->early && !floats && 2 * (job * s->blocks - now) < s->blocks) job++; /* a long crossfade is in no hurry */
        s->first_job = job;
        s->fade_from = job * s->blocks + s->delay;
        if (floats) {
            int64_t latest = s->fade_from + s->blocks - fade;
            if (latest > limit - fade) latest = limit - fade;
            if (latest > s->fade_from) s->fade_from = latest;
        }
        s->fade_to = s->fade_from + fade;
        s->changing = 1;
        s->parts[!s->side] = find_part(k, i, spectra);
        if (s->early) {
            plan_catch_up(s);
        } else {
            work_list once = {0};
            add_products(s, &once, !s->side, ALL, 0, 0), add_answer(s, &once, !s->side, 0, 0);
            k->fast_until = s->fade_to, k->fast_cost += once.cost / (float)s->blocks + s->costs->stage;
        }
    }
    k->incoming = spectra;
    k->fading = 1;
    return NV_OK;
}

/* After a block: stages whose crossfade is over know the new IR only; when all are, the old spectra are free. */
static void end_fades(nv_kernel *k) {
    int still = 0;
    for (int i = 0; i < k->stages; i++) {
        stage *s = &k->stage[i];
        if (s->changing && k->blocks + 1 >= s->fade_to) s->side = !s->side, s->changing = 0, s->stale = 1;
        still |= s->changing;
    }
    if (still) return;
    k->playing = k->incoming;
    k->incoming = NULL;
    k->fading = 0;
}

/* ---- the block ----------------------------------------------------------------------------------------------------------- */

void nv_kernel_process(nv_kernel *k, const float *const *in, float *const *out) {
    uint64_t float_mode = nv_flush_denormals();
    int64_t at = k->blocks * k->block & (k->ring_frames - 1);
    for (int c = 0; c < k->inputs; c++) memcpy(k->input[c] + at, in[c], (size_t)k->block * sizeof(float));
    k->blocks++;
    work_first(k, &k->stage[0], out);
    for (int i = 1; i < k->stages; i++) {
        work_block(k, &k->stage[i]);
        add_output(k, &k->stage[i], out);
    }
    if (k->fading) end_fades(k);
    nv_restore_denormals(float_mode);
}

/* ---- life ---------------------------------------------------------------------------------------------------------------- */

static int stage_init(nv_kernel *k, stage *s, const nv_stage *from) {
    s->size = (int)from->partition_frames;
    s->blocks = s->size / k->block;
    while (s->blocks >> s->shift > 1) s->shift++;
    s->delay = nv_stage_delay(from, k->block);
    s->early = nv_stage_early(s->delay, s->blocks);
    /* One more than the IR has: the catch-up of a job may last until the next one's input has come. */
    s->inputs_kept = s->ring_partitions = (int)from->partitions + s->early;
    s->simd = nv_simd_for(s->size);
    if (s->inputs_kept * s->size <= TWICE_FRAMES) s->ring_partitions *= 2, s->again = (size_t)s->inputs_kept * 4 * s->simd->lanes;
    s->costs = nv_costs_for(s->simd);
    s->stale = 1;
    if (fft_init(&s->fft, s->size, s->simd->lanes, &k->bytes)) return NV_E_MEMORY;
    size_t complex_bytes = (size_t)s->size * 2 * sizeof(float);
    int whole = (s->z = allocate(complex_bytes, &k->bytes)) != NULL;
    for (int c = 0; c < k->inputs; c++)
        whole &= (s->ring[c] = allocate((size_t)s->ring_partitions * complex_bytes, &k->bytes)) != NULL;
    for (int i = 0; i < SIDES * NV_OUTPUTS; i++)
        whole &= (s->sums[i / NV_OUTPUTS][i % NV_OUTPUTS] = allocate(complex_bytes, &k->bytes)) != NULL;
    for (int i = 0; i < SIDES * 2 * NV_OUTPUTS; i++)
        whole &= (s->output[i / 4][i / 2 % 2][i % 2] = allocate(complex_bytes / 2, &k->bytes)) != NULL;
    return whole ? NV_OK : NV_E_MEMORY;
}

static void stage_free(stage *s) {
    fft_free(&s->fft);
    free(s->z), free(s->ring[0]), free(s->ring[1]);
    for (int i = 0; i < SIDES * NV_OUTPUTS; i++) free(s->sums[i / NV_OUTPUTS][i % NV_OUTPUTS]);
    for (int i = 0; i < SIDES * 2 * NV_OUTPUTS; i++) free(s->output[i / 4][i / 2 % 2][i % 2]);
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
    int whole = 1;
    for (; whole && k->stages < (int)layout->stages; k->stages++)
        whole = stage_init(k, &k->stage[k->stages], &layout->stage[k->stages]) == NV_OK;
    /* A job reads its two partitions while up to one more comes in. */
    k->ring_frames = 4 * k->stage[k->stages - 1].size;
    for (int c = 0; c < k->inputs; c++) whole &= (k->input[c] = allocate((size_t)k->ring_frames * sizeof(float), &k->bytes)) != NULL;
    if (!whole) {
        nv_kernel_free(k);
        return NULL;
    }
    *error = NV_OK;
    return k;
}

void nv_kernel_free(nv_kernel *k) {
    if (!k) return;
    for (int i = 0; i < k->stages; i++) stage_free(&k->stage[i]);
    free(k->input[0]), free(k->input[1]);
    free(k);
}

void nv_kernel_reset(nv_kernel *k) {
    for (int c = 0; c < k->inputs; c++) memset(k->input[c], 0, (size_t)k->ring_frames * sizeof(float));
    for (int i = 0; i < k->stages; i++) {
        stage *s = &k->stage[i];
        for (int c = 0; c < k->inputs; c++) memset(s->ring[c], 0, (size_t)s->ring_partitions * s->size * 2 * sizeof(float));
        memset(s->z, 0, (size_t)s->size * 2 * sizeof(float));
        for (int j = 0; j < SIDES * NV_OUTPUTS; j++) memset(s->sums[j / 2][j % 2], 0, (size_t)s->size * 2 * sizeof(float));
        for (int j = 0; j < SIDES * 2 * NV_OUTPUTS; j++) memset(s->output[j / 4][j / 2 % 2][j % 2], 0, (size_t)s->size * sizeof(float));
    }
}

const void *nv_kernel_playing(const nv_kernel *k) { return k->playing; }
const void *nv_kernel_incoming(const nv_kernel *k) { return k->incoming; }
int nv_kernel_fading(const nv_kernel *k) { return k->fading; }
void nv_kernel_set_fade(nv_kernel *k, int fade_frames) {
    k->fade_frames = fade_frames < 1 ? 1 : fade_frames;
    float angle = NV_FADE_PIECE * (float)M_PI / (float)k->fade_frames;
    k->turn_re = cosf(angle), k->turn_im = sinf(angle);
}
size_t nv_kernel_bytes(const nv_kernel *k) { return k->bytes; }
