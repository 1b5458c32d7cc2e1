/* Changes of IR: the schedule of a crossfade in each stage, and its end. Explained in kernel.c. */
#include "kernel_spectra.h"
#include "kernel_stage.h"

enum { CHANGE_FRAMES = 4800 };

/* The stage's part of an IR; without partitions (silence) if spectra is NULL. */
static nv_stage_part find_part(const nv_kernel *k, int index, const void *spectra) {
    nv_stage_part p = {0};
    if (!spectra) return p;
    const nv_spectra_header *h = spectra;
    const nv_kernel_stage *s = &k->stage[index];
    int taps = (int)h->taps, channels = (int)h->channels;
    const float *at = (const float *)((const char *)spectra + NV_SPECTRA_HEADER_BYTES);
    for (int i = 0; i < index; i++)
        at += (size_t)channels * nv_stage_floats(&k->layout.stage[i], taps);
    size_t floats = nv_stage_floats(&k->layout.stage[index], taps);
    p.partitions = nv_stage_reached(&k->layout.stage[index], taps);
    p.together =
        (channels == 4 || k->inputs == 1) && s->costs->shared_product < 2 * s->costs->product;
    p.inputs = channels == 4 ? 2 : 1;
    for (int o = 0; o < NV_OUTPUTS; o++)
        for (int i = 0; i < p.inputs; i++) {
            const float *filter[NV_OUTPUTS];
            for (int to = 0; to < NV_OUTPUTS; to++)
                filter[to] = at + floats * (size_t)(channels == 4   ? 2 * i + to
                                                    : channels == 2 ? to
                                                                    : 0);
            nv_product *product = p.together ? &p.product[0][0] : &p.product[o][i];
            product->inputs = p.together ? p.inputs : 1,
            product->outputs = p.together ? NV_OUTPUTS : 1;
            product->ring_partitions = s->ring_partitions,
            product->filter_partitions = p.partitions;
            int at_input = p.together ? i : 0;
            product->input[at_input] = s->ring[channels == 4 || k->inputs == 1 ? i : o];
            for (int to = 0; to < product->outputs; to++)
                product->filter[at_input][to] = filter[p.together ? to : o];
        }
    return p;
}

int nv_kernel_load(nv_kernel *k, const void *spectra) {
    if (k->fading) return NV_E_BUSY;
    int64_t now = k->blocks, fade = (k->fade_frames + k->block - 1) / k->block,
            limit = now + CHANGE_FRAMES / k->block;
    k->fast_cost = 0;
    for (int i = 0; i < k->stages; i++) {
        nv_kernel_stage *s = &k->stage[i];
        int floats = s->early && s->blocks >= fade;
        int64_t job = (now >> s->shift) + 1;
        while (floats && (job + 1) * s->blocks + s->delay + fade <= limit) job++;
        if (s->early && !floats && 2 * (job * s->blocks - now) < s->blocks)
            job++; /* a long crossfade can start later */
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
            nv_plan_catch_up(s);
        } else {
            k->fast_until = s->fade_to,
            k->fast_cost += nv_job_cost_of(s, !s->side) / (float)s->blocks + s->costs->stage;
        }
    }
    k->incoming = spectra;
    k->fading = 1;
    return NV_OK;
}

/* After a block: a stage whose crossfade is over uses only the new IR. When all are, the old
 * spectra are no longer in use. */
void nv_end_fades(nv_kernel *k) {
    int still = 0;
    for (int i = 0; i < k->stages; i++) {
        nv_kernel_stage *s = &k->stage[i];
        if (s->changing && k->blocks + 1 >= s->fade_to)
            s->side = !s->side, s->changing = 0, s->stale = 1;
        still |= s->changing;
    }
    if (still) return;
    k->playing = k->incoming;
    k->incoming = NULL;
    k->fading = 0;
}
