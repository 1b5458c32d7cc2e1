/* Sums of products: each window's spectra with the partitions of the room in which that input
 * sounds. Explained in kernel.c. */
#include <string.h>

#include "kernel_stage.h"

/* `count` partitions of a room from number `partition` on, and as many spectra in `ring` from `at`
 * on. */
static void add_run(const nv_kernel_stage *s, nv_runs *runs, const nv_stage_part *part,
                    float *const *ring, int ring_partitions, int at, int partition, int count) {
    size_t floats = 4 * (size_t)s->simd->lanes;
    for (int o = 0; o < (runs->together ? 1 : NV_OUTPUTS); o++)
        for (int i = 0; i < 2; i++) {
            const float *const *filter = part->filter[i];
            if (!filter[o]) continue;
            nv_run *run = &runs->run[o][runs->count[o]++];
            run->input = ring[i] + (size_t)at * floats;
            run->input_stride = (size_t)ring_partitions * floats;
            run->filter[0] = filter[o] + (size_t)partition * floats;
            if (runs->together) run->filter[1] = filter[1] + (size_t)partition * floats;
            run->filter_stride = (size_t)part->partitions * floats;
            run->partitions = count;
            runs->products[o] += count;
        }
}

static int room_of(const nv_kernel *k, const nv_kernel_stage *s, int passage, int side) {
    const nv_passage *p = &k->passage[passage];
    return side != s->side || s->moved ? p->next_room : p->room;
}

static void add_ring(const nv_kernel_stage *s, nv_runs *runs, int passage,
                     const nv_stage_part *part, int64_t job, int first, int last) {
    nv_windows in = {job - last + 1, job - first + 1};
    if (in.from < s->ring_of[passage].from) in.from = s->ring_of[passage].from;
    if (in.to > s->ring_of[passage].to) in.to = s->ring_of[passage].to;
    int count = (int)(in.to - in.from), partition = (int)(job - in.to + 1);
    if (count <= 0) return;
    int at = s->newest + (int)(s->job - (in.to - 1));
    if (at < 0) at += s->inputs_kept;
    if (at >= s->inputs_kept) at -= s->inputs_kept;
    int stretch = s->ring_partitions - at;
    if (stretch > count) stretch = count;
    add_run(s, runs, part, s->ring, s->ring_partitions, at, partition, stretch);
    if (count > stretch)
        add_run(s, runs, part, s->ring, s->ring_partitions, 0, partition + stretch,
                count - stretch);
}

static void add_spares(const nv_kernel *k, const nv_kernel_stage *s, nv_runs *runs, int side,
                       int64_t job, int first, int last) {
    for (int at = -1, seen = 0; nv_next_spare(s, &at, &seen);) {
        nv_spare spare = s->spare[at];
        int room = room_of(k, s, spare.passage, side), p = (int)(job - spare.window);
        int most = room < 0 ? 0 : s->parts[room].partitions;
        if (p < first || p >= (most < last ? most : last)) continue;
        int start = at, count = 1, longest = (most < last ? most : last) - p;
        /* Those that follow in memory and are of windows that follow. */
        for (const nv_spare *next = &s->spare[at + 1];
             count < longest && start + count < s->spares && next->passage == spare.passage &&
             next->window == spare.window - count;
             next++)
            count++;
        at += count - 1, seen += count - 1;
        add_run(s, runs, &s->parts[room], s->spare_ring, s->spares, start, p, count);
    }
}

void nv_find_runs(const nv_kernel *k, const nv_kernel_stage *s, int side, int which, int64_t job,
                  int together, nv_runs *runs) {
    int first = which == NV_OLDER, most = which == NV_NEWEST ? 1 : s->inputs_kept;
    runs->together = together && s->costs->shared_product < 2 * s->costs->product;
    for (int o = 0; o < NV_OUTPUTS; o++) runs->count[o] = runs->products[o] = 0;
    for (int i = 0; i < k->passages; i++) {
        int room = room_of(k, s, k->order[i], side);
        if (room >= 0) runs->together &= s->parts[room].together;
    }
    for (int i = 0; i < k->passages; i++) {
        int id = k->order[i], room = room_of(k, s, id, side);
        if (room < 0) continue;
        const nv_stage_part *part = &s->parts[room];
        add_ring(s, runs, id, part, job, first, most < part->partitions ? most : part->partitions);
    }
    if (s->spares_used) add_spares(k, s, runs, side, job, first, most);
}

void nv_multiply(const nv_kernel_stage *s, const nv_runs *runs, float *const *sums, int more,
                 int from, int to) {
    size_t floats = 4 * (size_t)s->simd->lanes;
    for (int o = 0; o < NV_OUTPUTS; o++) {
        int list = runs->together ? 0 : o, first = (from + 1 - o) / 2 * 2,
            end = (to + 1 - o) / 2 * 2;
        if (!runs->count[list]) {
            size_t bytes = (size_t)(end - first) * floats * sizeof(float);
            if (!more) memset(sums[o] + (size_t)first * floats, 0, bytes);
        } else if (list == o && first < end) {
            s->simd->multiply(runs->run[o], runs->count[o], runs->together ? NV_OUTPUTS : 1,
                              sums + o, more, first, end);
        }
    }
}

float nv_cost_of_runs(const nv_kernel_stage *s, const nv_runs *runs) {
    const nv_costs *c = s->costs;
    float cost = 0;
    for (int o = 0; o < NV_OUTPUTS; o++) {
        if (!runs->count[o]) continue;
        cost += c->run * (float)(runs->count[o] - 1);
        cost += runs->together ? c->shared_pair + c->shared_product * (float)runs->products[o]
                               : c->pair + c->product * (float)runs->products[o];
    }
    return cost;
}
