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
 * A change of room switches the *input* (Brandtsegg, Saue & Lazzarini 2018; Mueller-Tomfelde 2001):
 *
 *     y = h_old * (x (1 - w)) + h_new * (x w)
 *
 * The input between two changes is a *passage* and keeps its room. Each spectrum in a stage's ring
 * is multiplied with partitions of the room of its passage, so an old room rings out while the new
 * one begins. Only a window (2 P frames) in which a fade is needs a spectrum for each of its
 * passages: the newest passage's is in the ring, those of older ones are *spares* beside it.
 * Transforms are of P frames: the spectrum of a window is that of its first half plus i times that
 * of its second half, so each share of P frames is transformed once for the two windows that it is
 * in. A passage that is over and out of reach of its room is dropped, and the room's spectra are
 * free.
 *
 * The kernel reads up to NV_MAX_ROOMS rooms. When the last place is taken, a passage that rings
 * below -90 dB is dropped, or else one moves to the room of a neighbour, where that changes least:
 * a crossfade of the output between two *sides*, each of which says for each passage in which room
 * it sounds. For this the energy of each passage's input is known, and from the header of the
 * spectra that of the rest of the IR. With NV_TAILS_FOLLOW all passages move to the new room, with
 * NV_TAILS_CUT all old ones to silence. Passages that follow one another in the same room then
 * become one, and their spectra of a window are added up.
 *
 * Such a crossfade is a raised cosine in the time domain, for each stage separately. Its times are
 * fixed at the begin: the stage computes the new side's output from job `first_job` on and fades
 * it in over the blocks fade_from .. fade_to; after that it uses only the new side. A stage with an
 * early part has no sums of the new side for `first_job` yet. The *catch-up* computes them: a
 * second list of steps, spread evenly from the begin to fade_from. If a stage's partitions are
 * longer than the fade, the fade may be anywhere within one job's output, so the change costs one
 * catch-up only; the stage takes the latest job that ends within CHANGE_FRAMES, which leaves the
 * catch-up the most time.
 *
 * Files; each uses only those above it:
 *
 *     kernel_simd.c      inner loops, one object for each instruction set
 *     kernel_build.c     which of these objects runs
 *     kernel_fft.c       the transform and its tables
 *     kernel_plan.c      partition sizes and the cost model
 *     kernel_spectra.c   transforms an IR
 *     kernel_passages.c  whose input is in a window, and where its spectra are
 *     kernel_products.c  which spectra are multiplied with which room's
 *     kernel_jobs.c      the steps of a job, and a block's share of them
 *     kernel_change.c    new rooms, the schedule of a crossfade
 *     kernel.c           the block, and memory
 */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "denormals.h"
#include "kernel_build.h"
#include "kernel_fft.h"
#include "kernel_stage.h"

enum {
    TWICE_FRAMES = 4096,
    SPARES_OF_A_FADE = 3 /* of one that is shorter than a partition */
};

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
    case NV_E_BUSY: return "a change of IR is in progress";
    case NV_E_MEMORY: return "out of memory";
    }
    return "unknown error";
}

/* ---- output ---------------------------------------------------------------------------------- */

/* Adds this block of the stage's crossfade from `old` to `fresh` to out; if old == out, replaces
 * out. */
static void fade(const nv_kernel *k, const nv_kernel_stage *s, float *const *old,
                 float *const *fresh, int at, float *const *out) {
    float gain[NV_MAX_BLOCK / NV_FADE_PIECE + 1];
    nv_fade_gains(k, k->blocks - s->fade_from, k->crossfade_frames, gain);
    for (int c = 0; c < NV_OUTPUTS; c++)
        s->simd->add_faded(out[c], old == out ? NULL : old[c] + at, fresh[c] + at, gain,
                           k->block / NV_FADE_PIECE);
}

static float work_first(const nv_kernel *k, nv_kernel_stage *s, float *const *out) {
    nv_work_input(k, s);
    nv_work_answer(k, s, s->side, out);
    float extra = nv_extra_of_first(k, s);
    if (!s->changing || k->blocks < s->fade_from) return extra;
    float **fresh = s->output[!s->side][0];
    nv_work_answer(k, s, !s->side, fresh);
    fade(k, s, out, fresh, 0, out);
    return extra;
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
    nv_note_energy(k);
    nv_weigh_input(k);
    float extra = work_first(k, &k->stage[0], out);
    for (int i = 1; i < k->stages; i++) {
        extra = nv_work_block(k, &k->stage[i], extra);
        add_output(k, &k->stage[i], out);
    }
    if (k->passages > 1 || k->crossfading) nv_tend_passages(k);
    nv_restore_denormals(float_mode);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static int list_init(nv_kernel *k, const nv_kernel_stage *s, nv_work_list *list, int steps) {
    /* Of each passage up to two runs in the ring, and each spare; of two inputs. */
    size_t runs = 2 * (size_t)(2 * NV_PASSAGES + s->spares);
    int ok = (list->steps = nv_allocate((size_t)steps * sizeof(nv_step), &k->bytes)) != NULL;
    for (int o = 0; o < NV_OUTPUTS; o++)
        ok &= (list->runs.run[o] = nv_allocate(runs * sizeof(nv_run), &k->bytes)) != NULL;
    return ok;
}

static void list_free(nv_work_list *list) {
    free(list->steps);
    for (int o = 0; o < NV_OUTPUTS; o++) free(list->runs.run[o]);
}

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
    int longest = NV_MAX_FADE / s->size + SPARES_OF_A_FADE;
    if (longest > s->inputs_kept) longest = s->inputs_kept;
    s->spares = longest + SPARES_OF_A_FADE * (NV_PASSAGES - 2);
    for (int side = 0; side < NV_SIDES; side++) s->summed[side] = -1;
    if (nv_fft_init(&s->fft, s->size, s->simd->lanes, &k->bytes)) return NV_E_MEMORY;
    size_t complex_bytes = (size_t)s->size * 2 * sizeof(float);
    int ok = (s->z = nv_allocate(complex_bytes, &k->bytes)) != NULL;
    ok &= (s->gathered = nv_allocate(complex_bytes / 2, &k->bytes)) != NULL;
    ok &= (s->spare = nv_allocate((size_t)s->spares * sizeof *s->spare, &k->bytes)) != NULL;
    for (int i = 0; ok && i < s->spares; i++) s->spare[i].passage = -1;
    ok &= list_init(k, s, &s->main, NV_MAX_STEPS) && list_init(k, s, &s->catch_up, NV_SIDE_STEPS);
    for (int c = 0; c < k->inputs; c++) {
        size_t ring_bytes = (size_t)s->ring_partitions * complex_bytes,
               spare_bytes = (size_t)s->spares * complex_bytes;
        ok &= (s->ring[c] = nv_allocate(ring_bytes, &k->bytes)) != NULL;
        ok &= (s->hop[c] = nv_allocate(complex_bytes, &k->bytes)) != NULL;
        ok &= (s->spare_ring[c] = nv_allocate(spare_bytes, &k->bytes)) != NULL;
    }
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
    free(s->z), free(s->gathered), free(s->spare);
    list_free(&s->main), list_free(&s->catch_up);
    for (int c = 0; c < 2; c++) free(s->ring[c]), free(s->hop[c]), free(s->spare_ring[c]);
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
    k->passage[0] =
        (nv_passage){.from = INT64_MIN / 2, .to = NV_FOREVER, .room = -1, .next_room = -1};
    k->passages = 1;
    k->kept = nv_kept_energy(layout);
    int ok = 1;
    for (; ok && k->stages < (int)layout->stages; k->stages++)
        ok = stage_init(k, &k->stage[k->stages], &layout->stage[k->stages]) == NV_OK;
    /* A job reads two partitions while up to one more arrives. */
    k->ring_frames = 4 * k->stage[k->stages - 1].size;
    size_t ring_bytes = (size_t)k->ring_frames * sizeof(float);
    for (int c = 0; c < k->inputs; c++) {
        ok &= (k->input[c] = nv_allocate(ring_bytes, &k->bytes)) != NULL;
        ok &= (k->rising[c] = nv_allocate(ring_bytes, &k->bytes)) != NULL;
        ok &= (k->falling[c] = nv_allocate(ring_bytes, &k->bytes)) != NULL;
    }
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
    for (int c = 0; c < 2; c++) free(k->input[c]), free(k->rising[c]), free(k->falling[c]);
    free(k);
}

void nv_kernel_reset(nv_kernel *k) {
    size_t ring_bytes = (size_t)k->ring_frames * sizeof(float);
    for (int c = 0; c < k->inputs; c++)
        memset(k->input[c], 0, ring_bytes), memset(k->rising[c], 0, ring_bytes),
            memset(k->falling[c], 0, ring_bytes);
    for (int i = 0; i < k->stages; i++) {
        nv_kernel_stage *s = &k->stage[i];
        size_t complex_bytes = (size_t)s->size * 2 * sizeof(float);
        for (int c = 0; c < k->inputs; c++)
            memset(s->ring[c], 0, (size_t)s->ring_partitions * complex_bytes),
                memset(s->hop[c], 0, complex_bytes),
                memset(s->spare_ring[c], 0, (size_t)s->spares * complex_bytes);
        memset(s->z, 0, complex_bytes), memset(s->gathered, 0, complex_bytes / 2);
        for (int j = 0; j < NV_SIDES * NV_OUTPUTS; j++)
            memset(s->sums[j / 2][j % 2], 0, complex_bytes);
        for (int j = 0; j < NV_SIDES * 2 * NV_OUTPUTS; j++)
            memset(s->output[j / 4][j / 2 % 2][j % 2], 0, complex_bytes / 2);
    }
}

void nv_kernel_set_fade(nv_kernel *k, int fade_frames) {
    k->fade_frames = fade_frames < 1 ? 1 : fade_frames > NV_MAX_FADE ? NV_MAX_FADE : fade_frames;
}
size_t nv_kernel_bytes(const nv_kernel *k) { return k->bytes; }
