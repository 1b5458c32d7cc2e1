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
 * Files, each using only those above it:
 *
 *     kernel_simd.c     inner loops, one object for each instruction set
 *     kernel_build.c    which of these objects runs
 *     kernel_fft.c      tables of the transform
 *     kernel_plan.c     partition sizes, the cost model
 *     kernel_spectra.c  the IR, transformed
 *     kernel_jobs.c     lists of steps, a share of them in each block
 *     kernel_change.c   crossfades: what plays from when on
 *     kernel.c          the block, memory
 */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "denormals.h"
#include "kernel_build.h"
#include "kernel_fft.h"
#include "kernel_stage.h"

enum { TWICE_FRAMES = 4096 };

const char *nv_error_text(int error) {
    switch (error) {
    case NV_OK: return "no error";
    case NV_E_BLOCK: return "the block must be a power of two from 16 to 1024 frames";
    case NV_E_TAPS:
        return "the IR must have at least one tap, and no more taps than the engine was made for";
    case NV_E_CHANNELS:
        return "the IR must have 1, 2 or 4 channels (4 with two inputs only), the engine 1 or 2 "
               "inputs";
    case NV_E_LAYOUT: return "the layout is damaged, or of another version or processor";
    case NV_E_SPECTRA: return "the spectra are damaged, or were prepared for another engine";
    case NV_E_SIZE: return "the memory is too small or not aligned to 64 bytes";
    case NV_E_VALUE: return "the IR has a sample that is NaN or not finite";
    case NV_E_BUSY: return "a crossfade is under way";
    case NV_E_MEMORY: return "out of memory";
    }
    return "unknown error";
}

/* ---- output ---------------------------------------------------------------------------------- */

/* out += this block of the stage's crossfade from `old` to `fresh` (out = it, if `old` is out). The raised cosine is drawn in
 * straight pieces, within 0.02 % of it for fades of 5 ms and more; its points are found by turning a phasor. */
static void fade(const nv_kernel *k, const nv_kernel_stage *s, float *const *old,
                 float *const *fresh, int at, float *const *out) {
    float gain[NV_MAX_BLOCK / NV_FADE_PIECE + 1];
    int pieces = k->block / NV_FADE_PIECE;
    int faded = (int)(k->blocks - s->fade_from) * k->block;
    float angle = (float)M_PI * (float)faded / (float)k->fade_frames, re = cosf(angle),
          im = sinf(angle);
    for (int i = 0; i <= pieces; i++) {
        gain[i] = faded + i * NV_FADE_PIECE >= k->fade_frames ? 1.0f : 0.5f - 0.5f * re;
        float turned = re * k->turn_re - im * k->turn_im;
        im = re * k->turn_im + im * k->turn_re, re = turned;
    }
    for (int c = 0; c < NV_OUTPUTS; c++)
        s->simd->add_faded(out[c], old == out ? NULL : old[c] + at, fresh[c] + at, gain, pieces);
}

static void work_first(const nv_kernel *k, nv_kernel_stage *s, float *const *out) {
    nv_work_input(k, s);
    nv_work_answer(s, s->side, out);
    if (!s->changing) return;
    float **fresh = s->output[!s->side][0];
    nv_work_answer(s, !s->side, fresh);
    fade(k, s, out, fresh, 0, out);
}

static void add_output(const nv_kernel *k, nv_kernel_stage *s, float *const *out) {
    int64_t since = k->blocks - s->delay + s->blocks; /* job -1, which is silence */
    int odd = !(since >> s->shift & 1), at = (int)(since & (s->blocks - 1)) * k->block;
    float **old = s->output[s->side][odd], **fresh = s->output[!s->side][odd];
    if (!s->changing || k->blocks < s->fade_from)
        for (int c = 0; c < NV_OUTPUTS; c++) s->simd->add(out[c], old[c] + at, k->block);
    else
        fade(k, s, old, fresh, at, out);
}

/* ---- the block ------------------------------------------------------------------------------- */

void nv_kernel_process(nv_kernel *k, const float *const *in, float *const *out) {
    uint64_t float_mode = nv_flush_denormals();
    int64_t at = k->blocks * k->block & (k->ring_frames - 1);
    for (int c = 0; c < k->inputs; c++)
        memcpy(k->input[c] + at, in[c], (size_t)k->block * sizeof(float));
    k->blocks++;
    work_first(k, &k->stage[0], out);
    for (int i = 1; i < k->stages; i++) {
        nv_work_block(k, &k->stage[i]);
        add_output(k, &k->stage[i], out);
    }
    if (k->fading) nv_end_fades(k);
    nv_restore_denormals(float_mode);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static int stage_init(nv_kernel *k, nv_kernel_stage *s, const nv_stage *from) {
    s->size = (int)from->partition_frames;
    s->blocks = s->size / k->block;
    while (s->blocks >> s->shift > 1) s->shift++;
    s->delay = nv_stage_delay(from, k->block);
    s->early = nv_stage_early(s->delay, s->blocks);
    /* One more than the IR has: the catch-up of a job may last until the next one's input has come. */
    s->inputs_kept = s->ring_partitions = (int)from->partitions + s->early;
    s->simd = nv_simd_for(s->size);
    if (s->inputs_kept * s->size <= TWICE_FRAMES)
        s->ring_partitions *= 2, s->again = (size_t)s->inputs_kept * 4 * s->simd->lanes;
    s->costs = nv_costs_for(s->simd);
    s->stale = 1;
    if (nv_fft_init(&s->fft, s->size, s->simd->lanes, &k->bytes)) return NV_E_MEMORY;
    size_t complex_bytes = (size_t)s->size * 2 * sizeof(float);
    int whole = (s->z = nv_allocate(complex_bytes, &k->bytes)) != NULL;
    for (int c = 0; c < k->inputs; c++)
        whole &= (s->ring[c] =
                      nv_allocate((size_t)s->ring_partitions * complex_bytes, &k->bytes)) != NULL;
    for (int i = 0; i < NV_SIDES * NV_OUTPUTS; i++)
        whole &= (s->sums[i / NV_OUTPUTS][i % NV_OUTPUTS] =
                      nv_allocate(complex_bytes, &k->bytes)) != NULL;
    for (int i = 0; i < NV_SIDES * 2 * NV_OUTPUTS; i++)
        whole &= (s->output[i / 4][i / 2 % 2][i % 2] = nv_allocate(complex_bytes / 2, &k->bytes)) !=
                 NULL;
    return whole ? NV_OK : NV_E_MEMORY;
}

static void stage_free(nv_kernel_stage *s) {
    nv_fft_free(&s->fft);
    free(s->z), free(s->ring[0]), free(s->ring[1]);
    for (int i = 0; i < NV_SIDES * NV_OUTPUTS; i++) free(s->sums[i / NV_OUTPUTS][i % NV_OUTPUTS]);
    for (int i = 0; i < NV_SIDES * 2 * NV_OUTPUTS; i++) free(s->output[i / 4][i / 2 % 2][i % 2]);
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
    for (int c = 0; c < k->inputs; c++)
        whole &=
            (k->input[c] = nv_allocate((size_t)k->ring_frames * sizeof(float), &k->bytes)) != NULL;
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
    for (int c = 0; c < k->inputs; c++)
        memset(k->input[c], 0, (size_t)k->ring_frames * sizeof(float));
    for (int i = 0; i < k->stages; i++) {
        nv_kernel_stage *s = &k->stage[i];
        for (int c = 0; c < k->inputs; c++)
            memset(s->ring[c], 0, (size_t)s->ring_partitions * s->size * 2 * sizeof(float));
        memset(s->z, 0, (size_t)s->size * 2 * sizeof(float));
        for (int j = 0; j < NV_SIDES * NV_OUTPUTS; j++)
            memset(s->sums[j / 2][j % 2], 0, (size_t)s->size * 2 * sizeof(float));
        for (int j = 0; j < NV_SIDES * 2 * NV_OUTPUTS; j++)
            memset(s->output[j / 4][j / 2 % 2][j % 2], 0, (size_t)s->size * sizeof(float));
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
