/* The jobs of a stage: their lists of steps, and a block's share of the work. Explained in
 * kernel.c. */
#include <string.h>

#include "kernel_fft.h"
#include "kernel_stage.h"

enum {
    GATHER,
    FORWARD_FIRST,
    FORWARD,
    TO_SPECTRUM,
    MULTIPLY,
    FROM_SPECTRUM,
    INVERSE,
    INVERSE_LAST,
    SILENCE
};

static const float BUILDING_COST = 120; /* of a step */

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

/* Adds the transforms of a passage's share of a window, one for each input. */
static void add_transforms(const nv_kernel *k, const nv_kernel_stage *s, nv_work_list *list,
                           int opening) {
    int vectors = s->size / s->simd->lanes;
    const nv_costs *c = s->costs;
    for (int input = 0; input < k->inputs; input++) {
        int from = list->count;
        if (s->opened[opening].weight < 0)
            add_step(list, GATHER, input, s->size / NV_MIN_BLOCK, 1,
                     c->gather * NV_MIN_BLOCK / (float)s->simd->lanes);
        for (int pass = 0; pass < s->fft.passes; pass++) {
            int radix = s->fft.pass[pass].radix;
            float cost = pass ? c->pass4 : radix == 2 ? c->first2 : c->first4;
            add_step(list, pass ? FORWARD : FORWARD_FIRST, input, vectors / radix, 4, cost)->pass =
                (signed char)pass;
        }
        add_step(list, TO_SPECTRUM, input, vectors / 4, 1, c->to_spectrum);
        for (; from < list->count; from++) list->steps[from].opening = (signed char)opening;
    }
}

/* 0 if there are no products; `always`: then the step clears the sums. */
static int add_products(const nv_kernel *k, const nv_kernel_stage *s, nv_work_list *list, int side,
                        int which, int sums, int64_t job, int always) {
    nv_find_runs(k, s, side, which, job <= s->job ? job : s->job + 1, 1, &list->runs);
    float cost = nv_cost_of_runs(s, &list->runs);
    if (cost == 0 && !always) return 0;
    int units = s->size / s->simd->lanes / 2, grain = list->runs.together ? 2 : 1;
    nv_step *t = add_step(list, MULTIPLY, 0, units, grain, cost + 1);
    t->side = (signed char)side, t->which = (signed char)which, t->sums = (signed char)sums,
    t->job = job;
    return 1;
}

/* Adds the steps from sums to output. */
static void add_answer(const nv_kernel_stage *s, nv_work_list *list, int side, int sums,
                       int64_t job, int silent) {
    int vectors = s->size / s->simd->lanes;
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

/* Which sides have output in a job: the playing one until its crossfade ends, the new one from
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

/* The rest of the sums of this job, and the way back to its output. */
static void add_side(const nv_kernel *k, nv_kernel_stage *s, int side) {
    int sums = s->side_sums[side], begun = s->summed[sums] == s->job,
        rest = add_products(k, s, &s->main, side, s->early ? NV_NEWEST : NV_ALL, sums, s->job, 0);
    add_answer(s, &s->main, side, sums, s->job, !begun && !rest);
}

static void build_list(const nv_kernel *k, nv_kernel_stage *s) {
    nv_work_list *list = &s->main;
    const nv_job_plan *plan = &s->plan;
    int old = s->side, fresh = !old;
    list->count = 0, list->cost = 0;
    for (int i = 0; i < s->openings; i++) add_transforms(k, s, list, i);
    s->transforms = list->count;
    if (plan->old) add_side(k, s, old);
    if (plan->fresh) add_side(k, s, fresh);
    list->urgent = list->cost, list->urgent_steps = list->count;
    s->next_sums[old] = s->side_sums[old], s->next_sums[fresh] = !s->side_sums[old];
    /* The catch-up may still use the other set. */
    if (!plan->next_old)
        s->next_sums[fresh] = plan->in_catch_up ? s->side_sums[old] : s->side_sums[fresh];
    if (plan->next_old) add_products(k, s, list, old, NV_OLDER, s->next_sums[old], s->job + 1, 0);
    if (plan->next_fresh)
        add_products(k, s, list, fresh, NV_OLDER, s->next_sums[fresh], s->job + 1, 0);
    /* This costs, too; the block in which it is done does less of the steps. */
    list->building = BUILDING_COST * (float)list->count;
    list->cost += list->building, list->urgent += list->building;
}

static void next_job(nv_kernel_stage *s) {
    s->job++;
    s->newest = s->newest ? s->newest - 1 : s->inputs_kept - 1;
    s->openings = 0;
    nv_expire_spares(s);
}

/* The next job has the same steps. */
static void keep_list(nv_work_list *list) {
    for (int i = 0; i < list->count; i++) list->steps[i].job++;
    list->cost -= list->building, list->urgent -= list->building, list->building = 0;
}

/* 1 if one passage fills the ring, so that the next job has the same steps. */
static int is_steady(const nv_kernel *k, const nv_kernel_stage *s) {
    int newest = k->order[k->passages - 1];
    return !s->changing && !s->spares_used && s->openings == 1 && s->hop_passage == newest &&
           s->opened[0].weight == NV_COMPLETE && s->ring_of[newest].from <= s->job - s->inputs_kept;
}

static void begin_job(const nv_kernel *k, nv_kernel_stage *s) {
    nv_work_list *list = &s->main;
    next_job(s);
    nv_open_window(k, s);
    int was_steady = s->steady;
    memcpy(s->side_sums, s->next_sums, sizeof s->side_sums);
    s->plan = plan_for(s);
    s->steady = is_steady(k, s);
    if (s->steady && was_steady)
        keep_list(list);
    else
        build_list(k, s);
    if (s->steady || !s->steady_cost) s->steady_cost = list->cost;
    list->at_step = list->at_unit = 0, list->done = list->building;
}

void nv_plan_catch_up(const nv_kernel *k, nv_kernel_stage *s) {
    int side = !s->side, sums = s->side_sums[side] = s->next_sums[side] = !s->next_sums[s->side];
    s->catch_up.count = s->catch_up.at_step = s->catch_up.at_unit = 0;
    s->catch_up.cost = s->catch_up.done = 0;
    add_products(k, s, &s->catch_up, side, NV_OLDER, sums, s->first_job, 1);
    s->catch_up.urgent = s->catch_up.cost; /* possible before the job's input arrives */
    add_products(k, s, &s->catch_up, side, NV_NEWEST, sums, s->first_job, 1);
    add_answer(s, &s->catch_up, side, sums, s->first_job, 0);
    s->catching_up = 1;
}

float nv_job_cost_of(const nv_kernel *k, nv_kernel_stage *s, int side) {
    nv_work_list *once = &s->catch_up; /* not in use yet */
    once->count = 0, once->cost = 0;
    add_products(k, s, once, side, NV_ALL, 0, s->job, 0), add_answer(s, once, side, 0, 0, 0);
    return once->cost;
}

/* ---- work ------------------------------------------------------------------------------------ */

static void transform_step(const nv_kernel *k, nv_kernel_stage *s, const nv_step *t, int from,
                           int to) {
    const nv_opening *opened = &s->opened[(int)t->opening];
    nv_target target;
    switch (t->kind) {
    case GATHER: nv_gather(k, s, opened, t->channel, from, to); break;
    case FORWARD_FIRST:
        s->simd->forward_first(&s->fft, nv_share(k, s, opened, t->channel), s->z, from, to);
        break;
    case TO_SPECTRUM:
        target = nv_target_of(s, opened, t->channel);
        s->simd->to_spectrum(&s->fft, s->z, &target, from, to);
        break;
    }
}

static void multiply_step(const nv_kernel *k, nv_kernel_stage *s, nv_work_list *list,
                          const nv_step *t, int from, int to) {
    int more = t->which == NV_NEWEST && s->summed[(int)t->sums] == t->job;
    if (!from || list->runs_changed)
        nv_find_runs(k, s, t->side, t->which, t->job, t->grain == 2, &list->runs);
    list->runs_changed = 0;
    nv_multiply(s, &list->runs, s->sums[(int)t->sums], more, from, to);
    if (t->which == NV_OLDER && to == t->units) s->summed[(int)t->sums] = t->job;
}

static void do_step(const nv_kernel *k, nv_kernel_stage *s, nv_work_list *list, const nv_step *t,
                    int from, int to) {
    const nv_simd *simd = s->simd;
    float *sums = s->sums[(int)t->sums][(int)t->channel];
    float *output = s->output[(int)t->side][t->job & 1][(int)t->channel];
    switch (t->kind) {
    case FORWARD: simd->forward(&s->fft, t->pass, s->z, from, to); break;
    case MULTIPLY: multiply_step(k, s, list, t, from, to); break;
    case FROM_SPECTRUM: simd->from_spectrum(&s->fft, sums, from, to); break;
    case INVERSE: simd->inverse(&s->fft, t->pass, sums, from, to); break;
    case INVERSE_LAST: simd->inverse_last(&s->fft, sums, output, from, to); break;
    case SILENCE: memset(output, 0, (size_t)s->size * sizeof(float)); break;
    default: transform_step(k, s, t, from, to); break;
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
        if (s->catching_up && list == &s->main && t->kind == MULTIPLY && t->which == NV_OLDER &&
            t->sums == s->catch_up.steps[0].sums)
            s->catching_up = 0, work(k, s, &s->catch_up, NV_MAX_STEPS, 0);
        do_step(k, s, list, t, list->at_unit, list->at_unit + units);
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

/* This block's share of what is left to do in `blocks` blocks, so that it and `extra`, which other
 * stages have in addition for the next `busy` blocks, make an even load. */
static float even_share(float left, int blocks, float extra, int64_t busy) {
    if (busy > blocks) busy = blocks;
    float share =
        busy > 0 ? (left + extra * (float)busy) / (float)blocks - extra : left / (float)blocks;
    return share > 0 ? share : 0;
}

/* Blocks in which a fade adds to the work of the stages before: those in which it is, and two jobs
 * of the stage before. */
static int64_t busy_for(const nv_kernel *k, const nv_kernel_stage *s) {
    const nv_passage *newest = nv_newest_passage(k);
    return (newest->from + newest->fade_in) / k->block + 2 * s[-1].blocks - k->blocks + 1;
}

float nv_work_block(const nv_kernel *k, nv_kernel_stage *s, float extra) {
    int phase = (int)(k->blocks & (s->blocks - 1));
    nv_work_list *list = &s->main;
    if (phase == 0) {
        work(k, s, list, NV_MAX_STEPS, 0);
        begin_job(k, s);
    }
    int64_t busy = extra > 0 ? busy_for(k, s) : 0;
    float done = phase ? list->done : 0; /* building the list counts as work of this block */
    float share = even_share(list->cost - done, s->blocks - phase, extra, busy);
    if (phase <= s->delay) {
        float urgent = even_share(list->urgent - done, s->delay + 1 - phase, extra, busy);
        if (urgent > share) share = urgent;
    }
    work(k, s, list, phase < s->delay ? 0 : list->urgent_steps, done + share);
    if (s->catching_up) catch_up(k, s);
    float more = list->cost - s->steady_cost;
    return more > 0 && k->passages > 1 ? extra + more / (float)s->blocks : extra;
}

/* The next two do the same as the lists would, without their overhead. */

void nv_work_input(const nv_kernel *k, nv_kernel_stage *s) {
    next_job(s);
    nv_open_window(k, s);
    for (int i = 0; i < s->openings; i++)
        for (int c = 0; c < k->inputs; c++) {
            const nv_opening *opened = &s->opened[i]; /* a share of a block has one weight */
            nv_target target = nv_target_of(s, opened, c);
            nv_fft_transform(s->simd, &s->fft, nv_share(k, s, opened, c), s->z, &target);
        }
}

/* From the runs of the job before to those of this one: a ring that holds each window twice has no
 * end between them. */
static void shift_runs(const nv_kernel_stage *s, const nv_runs *runs) {
    ptrdiff_t shift = s->newest == s->inputs_kept - 1 ? s->newest : -1;
    for (int o = 0; o < NV_OUTPUTS; o++)
        for (int i = 0; i < runs->count[o]; i++)
            runs->run[o][i].input += shift * 4 * s->simd->lanes;
}

float nv_extra_of_first(const nv_kernel *k, const nv_kernel_stage *s) {
    if (k->passages == 1 || s->steady) return 0;
    float units = (float)(s->size / s->simd->lanes / 2),
          products = (nv_cost_of_runs(s, &s->main.runs) - s->steady_cost) * units;
    float shares = (float)((s->openings - 1) * k->inputs) * (float)nv_cost_of_transform(s->size);
    return shares + (products > 0 ? products : 0);
}

void nv_work_answer(const nv_kernel *k, nv_kernel_stage *s, int side, float *const *out) {
    const nv_simd *simd = s->simd;
    const nv_fft *fft = &s->fft;
    nv_runs *runs = &s->main.runs;
    int vectors = s->size / simd->lanes, was_steady = s->steady;
    s->steady = s->again && is_steady(k, s);
    if (s->steady && was_steady)
        shift_runs(s, runs);
    else
        nv_find_runs(k, s, side, NV_ALL, s->job, 1, runs);
    if (s->steady && !was_steady) s->steady_cost = nv_cost_of_runs(s, runs);
    nv_multiply(s, runs, s->sums[0], 0, 0, vectors / 2);
    int any = runs->count[0] + runs->count[1];
    for (int o = 0; o < NV_OUTPUTS; o++) {
        float *sums = s->sums[0][o];
        if (!any) {
            memset(out[o], 0, (size_t)s->size * sizeof(float));
            continue;
        }
        simd->from_spectrum(fft, sums, 0, vectors / 4);
        for (int pass = fft->passes - 1; pass > 0; pass--)
            simd->inverse(fft, pass, sums, 0, vectors / 4);
        simd->inverse_last(fft, sums, out[o], 0, vectors / fft->pass[0].radix);
    }
}
