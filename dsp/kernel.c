/* The convolution kernel: stages, work spread over blocks, crossfades. The interface is kernel.h.
 *
 * Non-uniform partitioned convolution by overlap-save (Gardner 1995; Garcia 2002; Wefers 2015).
 * Each stage convolves the input with one section of the IR, cut into partitions of one size, using
 * a ring of input spectra (a frequency-domain delay line) that both IRs of a crossfade share. The
 * first stage computes its output within the same block. The work of a later stage, its *job*, is a
 * list of steps; each block does an equal share of the job's cost and may stop in the middle of a
 * step. So there are no threads and no deadlines except the block's own, and the worst block costs
 * about as much as the mean block (the idea of Battenberg & Avizienis 2011, in one thread).
 *
 * A stage of P frames, M = P / B blocks and a delay of K blocks (kernel_plan.c), in the steady
 * state:
 *
 *     input     |<--- P frames, M blocks --->|<-- the next P frames --->|
 *     job                                    |= urgent =|==== early =====|
 *     output                                 |<-- K --->|<-- P frames are added, B at a time -->|
 *
 *     urgent    transform each input, add products with the newest partition to the previous
 *               job's sums, transform back
 *     early     for the next job: sums of products with all older partitions, which are already
 *               transformed
 *
 * A stage with K = M - 1 has no early part: its job computes all products at once.
 *
 * A crossfade is a raised cosine in the time domain, for each stage separately. Its times are fixed
 * when the IR is loaded: the stage computes the new IR's output from job `first_job` on and fades
 * it in over the blocks fade_from .. fade_to; after that it uses only the new IR. A stage with an
 * early part has no sums of the new IR for `first_job` yet. The *catch-up* computes them: a second
 * list of steps, spread evenly from the load to fade_from. If a stage's partitions are longer than
 * the fade, the fade may be anywhere within one job's output, so the change costs one catch-up
 * only; the stage takes the latest job that ends within CHANGE_FRAMES, which leaves the catch-up
 * the most time.
 *
 * Files; each uses only those above it:
 *
 *     kernel_simd.c     inner loops, one object for each instruction set
 *     kernel_build.c    which of these objects runs
 *     kernel_fft.c      the transform and its tables
 *     kernel_plan.c     partition sizes and the cost model
 *     kernel_spectra.c  transforms an IR
 *     kernel_jobs.c     the steps of a job, and a block's share of them
 *     kernel_change.c   the schedule of a crossfade
 *     kernel.c          the block, and memory
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
        return "the IR must have at least one tap, and no more than the engine's maximum";
    case NV_E_CHANNELS:
        return "the IR must have 1, 2 or 4 channels (4 with two inputs only), the engine 1 or 2 "
               "inputs";
    case NV_E_LAYOUT: return "the layout is damaged, or from another version or processor";
    case NV_E_SPECTRA: return "the spectra are damaged, or prepared for another engine";
    case NV_E_SIZE: return "the memory is too small, or not aligned to 64 bytes";
    case NV_E_VALUE: return "the IR has a sample that is NaN or not finite";
    case NV_E_BUSY: return "a crossfade is in progress";
    case NV_E_MEMORY: return "out of memory";
    }
    return "unknown error";
}

/* ---- output ---------------------------------------------------------------------------------- */

/* Adds this block of the stage's crossfade from `old` to `fresh` to out; if old == out, replaces
 * out. The raised cosine is approximated by straight pieces (error below 0.02 % for fades from 5
 * ms); a rotating phasor gives their ends. */
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
    /* One more than the IR has: a catch-up may last until the input of the next job arrives. */
    s->inputs_kept = s->ring_partitions = (int)from->partitions + s->early;
    s->simd = nv_simd_for(s->size);
    if (s->inputs_kept * s->size <= TWICE_FRAMES)
        s->ring_partitions *= 2, s->again = (size_t)s->inputs_kept * 4 * s->simd->lanes;
    s->costs = nv_costs_for(s->simd);
    s->stale = 1;
    if (nv_fft_init(&s->fft, s->size, s->simd->lanes, &k->bytes)) return NV_E_MEMORY;
    size_t complex_bytes = (size_t)s->size * 2 * sizeof(float);
    int ok = (s->z = nv_allocate(complex_bytes, &k->bytes)) != NULL;
    for (int c = 0; c < k->inputs; c++)
        ok &= (s->ring[c] = nv_allocate((size_t)s->ring_partitions * complex_bytes, &k->bytes)) !=
              NULL;
    for (int i = 0; i < NV_SIDES * NV_OUTPUTS; i++)
        ok &= (s->sums[i / NV_OUTPUTS][i % NV_OUTPUTS] = nv_allocate(complex_bytes, &k->bytes)) !=
              NULL;
    for (int i = 0; i < NV_SIDES * 2 * NV_OUTPUTS; i++)
        ok &= (s->output[i / 4][i / 2 % 2][i % 2] = nv_allocate(complex_bytes / 2, &k->bytes)) !=
              NULL;
    return ok ? NV_OK : NV_E_MEMORY;
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
    int ok = 1;
    for (; ok && k->stages < (int)layout->stages; k->stages++)
        ok = stage_init(k, &k->stage[k->stages], &layout->stage[k->stages]) == NV_OK;
    /* A job reads two partitions while up to one more arrives. */
    k->ring_frames = 4 * k->stage[k->stages - 1].size;
    for (int c = 0; c < k->inputs; c++)
        ok &=
            (k->input[c] = nv_allocate((size_t)k->ring_frames * sizeof(float), &k->bytes)) != NULL;
    if (!ok) {
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
