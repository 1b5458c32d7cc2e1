/* The jobs of a stage: their lists of steps, and a block's share of the work. Explained in
 * kernel.c. */
#include <string.h>

#include "kernel_fft.h"
#include "kernel_stage.h"

enum {
    FORWARD_FIRST,
    FORWARD,
    TO_SPECTRUM,
    MULTIPLY,
    FROM_SPECTRUM,
    INVERSE,
    INVERSE_LAST,
    SILENCE
};
enum { ALL, NEWEST, OLDER }; /* partitions that MULTIPLY takes */

/* ---- lists of steps -------------------------------------------------------------------------- */

static nv_step *add_step(nv_work_list *list, int kind, int channel, int units, int grain,
                         float cost) {
    nv_step *t = &list->steps[list->count++];
    *t = (nv_step){.kind = (signed char)kind,
                   .channel = (signed char)channel,
                   .units = units,
                   .grain = grain,
                   .cost = cost};
    list->cost += cost * (float)units;
    return t;
}

static void add_transform(const nv_kernel_stage *s, nv_work_list *list, int input, int64_t job) {
    int vectors = s->size / s->simd->lanes;
    const nv_costs *c = s->costs;
    for (int pass = 0; pass < s->fft.passes; pass++) {
        int radix = s->fft.pass[pass].radix;
        float cost = pass ? c->pass4 : radix == 2 ? c->first2 : c->first4;
        nv_step *t =
            add_step(list, pass ? FORWARD : FORWARD_FIRST, input, vectors / radix, 4, cost);
        t->pass = (signed char)pass, t->job = job;
    }
    add_step(list, TO_SPECTRUM, input, vectors / 4, 1, c->to_spectrum)->job = job;
}

static void add_products(const nv_kernel_stage *s, nv_work_list *list, int side, int which,
                         int sums, int64_t job) {
    const nv_stage_part *p = &s->parts[side];
    const nv_costs *c = s->costs;
    if (!p->partitions || (which == OLDER && p->partitions == 1)) return;
    int products = which == NEWEST ? 1 : which == OLDER ? p->partitions - 1 : p->partitions;
    for (int o = 0; o < (p->together ? 1 : NV_OUTPUTS); o++) {
        float cost = p->together
                         ? c->shared_pair + c->shared_product * (float)(products * p->inputs)
                         : (c->pair + c->product * (float)products) * (float)p->inputs;
        nv_step *t = add_step(list, MULTIPLY, o, s->size / s->simd->lanes / 2, 1, cost);
        t->side = (signed char)side, t->which = (signed char)which, t->sums = (signed char)sums,
        t->job = job;
    }
}

/* Adds the steps from sums to output. */
static void add_answer(const nv_kernel_stage *s, nv_work_list *list, int side, int sums,
                       int64_t job) {
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
                add_step(list, pass ? INVERSE : INVERSE_LAST, o, vectors / radix, 4, cost)->pass =
                    (signed char)pass;
            }
        }
        for (int i = from; i < list->count; i++) {
            nv_step *t = &list->steps[i];
            t->side = (signed char)side, t->sums = (signed char)sums, t->job = job;
        }
    }
}

/* Which IRs have output in a job: the playing one until its crossfade ends, the new one from
 * `first_job` on. */
static int plays_in(const nv_kernel_stage *s, int64_t job) {
    return !s->changing || job * s->blocks + s->delay < s->fade_to;
}
static int fades_in(const nv_kernel_stage *s, int64_t job) {
    return s->changing && job >= s->first_job;
}

static nv_job_plan plan_for(const nv_kernel_stage *s) {
    int first = s->changing && s->early && s->job == s->first_job;
    return (nv_job_plan){
        .old = plays_in(s, s->job),
        .fresh = fades_in(s, s->job) && !first,
        .next_old = s->early && plays_in(s, s->job + 1),
        .next_fresh = s->early && fades_in(s, s->job + 1) && s->job + 1 > s->first_job,
        .in_catch_up = first,
    };
}

/* The list begins with the transforms and the playing IR's output, which a change leaves alone. */
static void begin_list(nv_kernel_stage *s, int inputs) {
    nv_work_list *list = &s->main;
    list->count = 0, list->cost = 0;
    for (int c = 0; c < inputs; c++) add_transform(s, list, c, s->job);
    s->transforms = list->count;
    if (s->plan.old) {
        add_products(s, list, s->side, s->early ? NEWEST : ALL, s->side_sums[s->side], s->job);
        add_answer(s, list, s->side, s->side_sums[s->side], s->job);
    }
    s->beginning = list->count, s->beginning_cost = list->cost;
}

static void end_list(nv_kernel_stage *s) {
    nv_work_list *list = &s->main;
    const nv_job_plan *plan = &s->plan;
    int old = s->side, fresh = !old;
    list->count = s->beginning, list->cost = s->beginning_cost;
    if (plan->fresh) {
        add_products(s, list, fresh, s->early ? NEWEST : ALL, s->side_sums[fresh], s->job);
        add_answer(s, list, fresh, s->side_sums[fresh], s->job);
    }
    list->urgent = list->cost, list->urgent_steps = list->count;
    s->next_sums[old] = s->side_sums[old], s->next_sums[fresh] = !s->side_sums[old];
    /* The catch-up may still use the other set. */
    if (!plan->next_old)
        s->next_sums[fresh] = plan->in_catch_up ? s->side_sums[old] : s->side_sums[fresh];
    if (plan->next_old) add_products(s, list, old, OLDER, s->next_sums[old], s->job + 1);
    if (plan->next_fresh) add_products(s, list, fresh, OLDER, s->next_sums[fresh], s->job + 1);
}

void nv_next_job(nv_kernel_stage *s) {
    s->job++;
    s->newest = s->newest ? s->newest - 1 : s->inputs_kept - 1;
}

static void begin_job(const nv_kernel *k, nv_kernel_stage *s) {
    nv_work_list *list = &s->main;
    nv_next_job(s);
    memcpy(s->side_sums, s->next_sums, sizeof s->side_sums);
    for (int i = 0; i < list->count; i++) list->steps[i].job++;
    nv_job_plan before = s->plan, plan = s->plan = plan_for(s);
    int rebuild = s->stale || plan.old != before.old;
    if (rebuild) begin_list(s, k->inputs);
    if (rebuild || memcmp(&plan, &before, sizeof plan)) end_list(s);
    s->stale = 0;
    list->at_step = list->at_unit = 0, list->done = 0;
}

void nv_plan_catch_up(nv_kernel_stage *s) {
    int side = !s->side, sums = s->side_sums[side] = s->next_sums[side] = !s->next_sums[s->side];
    s->catch_up.count = s->catch_up.at_step = s->catch_up.at_unit = 0;
    s->catch_up.cost = s->catch_up.done = 0;
    add_products(s, &s->catch_up, side, OLDER, sums, s->first_job);
    s->catch_up.urgent = s->catch_up.cost; /* possible before the job's input arrives */
    add_products(s, &s->catch_up, side, NEWEST, sums, s->first_job);
    add_answer(s, &s->catch_up, side, sums, s->first_job);
    s->catching_up = 1;
}

float nv_job_cost_of(const nv_kernel_stage *s, int side) {
    nv_work_list once = {0};
    add_products(s, &once, side, ALL, 0, 0), add_answer(s, &once, side, 0, 0);
    return once.cost;
}

/* ---- work ------------------------------------------------------------------------------------ */

/* The ring's partition for the input of a job: the current, the previous or the next one. */
static int newest(const nv_kernel_stage *s, int64_t job) {
    int at = s->newest + (int)(s->job - job);
    return at < 0 ? at + s->inputs_kept : at >= s->inputs_kept ? at - s->inputs_kept : at;
}

/* The input frames of the job. */
static const float *frames(const nv_kernel *k, const nv_kernel_stage *s, int input, int64_t job) {
    return k->input[input] + ((job - 1) * s->size & (k->ring_frames - 1));
}

static inline __attribute__((always_inline)) void multiply(const nv_kernel_stage *s,
                                                           const nv_stage_part *part, int output,
                                                           int which, int64_t job,
                                                           float *const *sums, int from, int to) {
    int first = which == OLDER, last = which == NEWEST ? 1 : part->partitions, at = newest(s, job);
    int more = which == NEWEST && part->partitions > 1;
    s->simd->multiply(&part->product[output][0], at, first, last, sums + output, more, from, to);
    if (!part->together && part->inputs == 2)
        s->simd->multiply(&part->product[output][1], at, first, last, sums + output, 1, from, to);
}

static void do_step(const nv_kernel *k, nv_kernel_stage *s, const nv_step *t, int from, int to) {
    const nv_simd *simd = s->simd;
    float *sums = s->sums[t->sums][t->channel], *z = s->z;
    float *output = s->output[t->side][t->job & 1][t->channel];
    switch (t->kind) {
    case FORWARD_FIRST:
        simd->forward_first(&s->fft, frames(k, s, t->channel, t->job - 1),
                            frames(k, s, t->channel, t->job), z, from, to);
        break;
    case FORWARD: simd->forward(&s->fft, t->pass, z, from, to); break;
    case TO_SPECTRUM: {
        size_t stride = (size_t)s->ring_partitions * 4 * simd->lanes;
        simd->to_spectrum(&s->fft, z, s->ring[t->channel] + newest(s, t->job) * 4 * simd->lanes,
                          stride, s->again, from, to);
        break;
    }
    case MULTIPLY:
        multiply(s, &s->parts[t->side], t->channel, t->which, t->job, s->sums[t->sums], from, to);
        break;
    case FROM_SPECTRUM: simd->from_spectrum(&s->fft, sums, from, to); break;
    case INVERSE: simd->inverse(&s->fft, t->pass, sums, from, to); break;
    case INVERSE_LAST: simd->inverse_last(&s->fft, sums, output, from, to); break;
    case SILENCE: memset(output, 0, (size_t)s->size * sizeof(float)); break;
    }
}

/* Does steps of the list until the first `must` steps are done and the cost done reaches `target`,
 * to the nearest slice. */
static void work(const nv_kernel *k, nv_kernel_stage *s, nv_work_list *list, int must,
                 float target) {
    while (list->at_step < list->count) {
        const nv_step *t = &list->steps[list->at_step];
        int left = t->units - list->at_unit, units = left;
        if (list->at_step >= must) {
            float wanted = (target - list->done) / t->cost + 0.5f * (float)t->grain;
            if (wanted < (float)t->grain) return;
            if (wanted < (float)left) units = (int)wanted / t->grain * t->grain;
        }
        /* The next job needs the set of sums that the catch-up uses: finish the catch-up. */
        if (s->catching_up && list == &s->main && t->which == OLDER &&
            t->sums == s->catch_up.steps[0].sums)
            s->catching_up = 0, work(k, s, &s->catch_up, NV_MAX_STEPS, 0);
        do_step(k, s, t, list->at_unit, list->at_unit + units);
        list->done += (float)units * t->cost;
        list->at_unit += units;
        if (list->at_unit == t->units) list->at_unit = 0, list->at_step++;
    }
}

static int ring_holds(const nv_kernel_stage *s, int64_t job) {
    return job < s->job || (job == s->job && s->main.at_step >= s->transforms);
}

/* Does the catch-up's share of a block. The share makes the catch-up and the stages that already
 * crossfade an even load until fade_from. Waits while the ring does not hold its input. */
static void catch_up(const nv_kernel *k, nv_kernel_stage *s) {
    nv_work_list *list = &s->catch_up;
    if (!ring_holds(s, s->first_job - 1)) return;
    int64_t blocks = s->fade_from - k->blocks + 1, busy = k->fast_until - k->blocks;
    if (busy < 0) busy = 0;
    if (busy > blocks) busy = blocks;
    float share = (list->cost - list->done + k->fast_cost * (float)busy) / (float)blocks -
                  (busy ? k->fast_cost : 0);
    float target = list->done + (share > 0 ? share : 0);
    if (!ring_holds(s, s->first_job) && target > list->urgent) target = list->urgent;
    work(k, s, list, blocks > 1 ? 0 : NV_MAX_STEPS, target);
    s->catching_up = list->at_step < list->count;
}

void nv_work_block(const nv_kernel *k, nv_kernel_stage *s) {
    int phase = (int)(k->blocks & (s->blocks - 1));
    nv_work_list *list = &s->main;
    if (phase == 0) {
        work(k, s, list, NV_MAX_STEPS, 0);
        begin_job(k, s);
    }
    float even = list->cost * (float)(phase + 1) / (float)s->blocks, urgent = list->urgent;
    if (phase < s->delay) urgent *= (float)(phase + 1) / (float)(s->delay + 1);
    work(k, s, list, phase < s->delay ? 0 : list->urgent_steps, even > urgent ? even : urgent);
    if (s->catching_up) catch_up(k, s);
}

/* Does the same as the lists would, without their overhead. */
void nv_work_answer(const nv_kernel_stage *s, int side, float *const *out) {
    const nv_simd *simd = s->simd;
    const nv_fft *fft = &s->fft;
    const nv_stage_part *p = &s->parts[side];
    int vectors = s->size / simd->lanes;
    for (int o = 0; o < NV_OUTPUTS; o++) {
        float *sums = s->sums[0][o];
        if (!p->partitions) {
            memset(out[o], 0, (size_t)s->size * sizeof(float));
            continue;
        }
        if (!o || !p->together) multiply(s, p, o, ALL, s->job, s->sums[0], 0, vectors / 2);
        simd->from_spectrum(fft, sums, 0, vectors / 4);
        for (int pass = fft->passes - 1; pass > 0; pass--)
            simd->inverse(fft, pass, sums, 0, vectors / 4);
        simd->inverse_last(fft, sums, out[o], 0, vectors / fft->pass[0].radix);
    }
}

void nv_work_input(const nv_kernel *k, nv_kernel_stage *s) {
    nv_next_job(s);
    for (int c = 0; c < k->inputs; c++)
        nv_fft_transform(s->simd, &s->fft, frames(k, s, c, s->job - 1), frames(k, s, c, s->job),
                         s->z, s->ring[c], s->ring_partitions, newest(s, s->job), s->again);
}
