/* How an IR is cut into partitions: the cost model, and the search for the cheapest cut.
 *
 * A stage has partitions of P frames (M = P / B blocks). At the end of block t its input is
 * complete. Its transforms, the products of its newest partition and its inverse transforms must be
 * done before its output is added, first in block t + K. So the stage's first tap is at P + (K - 1)
 * B. K is at most M - 1, when the next job begins (Gardner 1995, section 3.2: his 2P - B, less the
 * block in which work is done before output is added). It can be smaller: products with all older
 * partitions can be computed before the input arrives ("early"), so that only the urgent rest is
 * left after it (Wefers 2015, ch. 5.4). A job runs at an even rate, so K follows from that rate: M
 * times the urgent fraction of the cost. A small K makes stages short and a new IR audible sooner;
 * it costs a second pass over the sums.
 *
 * Each stage ends at the first tap of the next, so a cut is a list of sizes and delays. The search
 * tries all useful lists (Garcia 2002 finds the best one with dynamic programming; here there are
 * few).
 *
 * Cost of a block, in instructions (with V lanes, d doublings from V to P; a unit's cost in the
 * table below):
 *
 *     stage     (B / P) * (inputs * forward + outputs * (inverse + products)) + stage
 *     products  P/2V * (pair * (early ? 2 : 1) + product * partitions)
 *     forward   P/V/4 * (first4 + pass4 * (d/2 - 1) + to_spectrum)     for even d; if d is odd, a
 *               pass of radix 2 comes first
 *     inverse   the same with last4, inverse4, from_spectrum
 *
 * The late stages wait for memory: a job reads the spectra of all its partitions, 8 P bytes each of
 * two inputs and of the paths of the IR, once for P frames. So larger partitions read less. The
 * search minimises instructions and waiting, `byte` for each of these bytes: measured on a desktop
 * at 64 frames (2.3 us for 96 kB a block, where 15 800 instructions take 3 us), from the bandwidth
 * of the boards for ARM.
 *
 * The units were counted by callgrind and qemu on the objects of this source; `nverb bench kernel
 * --plan` compares the model with the count for each stage.
 */
#include "kernel_plan.h"

#include <string.h>

#include "kernel_build.h"
#include "kernel_fft.h"

static const nv_costs AVX2 = {
    .first2 = 14,
    .first4 = 40,
    .pass4 = 48,
    .to_spectrum = 178,
    .from_spectrum = 138,
    .inverse4 = 52,
    .last2 = 14,
    .last4 = 38,
    .pair = 36,
    .product = 12.8f,
    .shared_pair = 67,
    .shared_product = 22.5f,
    .run = 18.5f,
    .gather = 5,
    .byte = 0.12f,
    .slice = 70,
    .stage = 560,
    .block = 800,
};
static const nv_costs NEON64 = {
    .first2 = 16,
    .first4 = 43,
    .pass4 = 55,
    .to_spectrum = 135,
    .from_spectrum = 99,
    .inverse4 = 51,
    .last2 = 16,
    .last4 = 39,
    .pair = 24,
    .product = 12.8f,
    .shared_pair = 49,
    .shared_product = 24.5f,
    .run = 13,
    .gather = 5,
    .byte = 0.5f,
    .slice = 70,
    .stage = 700,
    .block = 900,
};
static const nv_costs NEON32 = {
    .first2 = 19,
    .first4 = 47,
    .pass4 = 61,
    .to_spectrum = 208,
    .from_spectrum = 145,
    .inverse4 = 59,
    .last2 = 19,
    .last4 = 46,
    .pair = 31,
    .product = 18.1f,
    .shared_pair = 56,
    .shared_product = 29.5f,
    .run = 13,
    .gather = 5,
    .byte = 1,
    .slice = 90,
    .stage = 900,
    .block = 1200,
};

/* SSE2 and scalar builds use the proportions of a four-lane build. */
const nv_costs *nv_costs_for(const nv_simd *simd) {
    return simd->lanes == 8 ? &AVX2 : sizeof(void *) == 8 ? &NEON64 : &NEON32;
}

/* `first2` or `first4` for the first pass, or the last one of the inverse. */
static double transform_cost(int partition, double first2, double first4, double pass4,
                             double last) {
    int lanes = nv_simd_for(partition)->lanes, doublings = nv_doublings(partition, lanes),
        odd = doublings % 2;
    int passes = odd ? doublings / 2 - 1
                     : doublings / 2 - 2; /* of radix 4, without the first and the last */
    if (passes < 0) passes = 0;
    return partition / lanes * ((odd ? first2 / 2 : first4 / 4) + passes * pass4 / 4 + last / 4);
}

double nv_cost_of_transform(int partition) {
    const nv_costs *c = nv_costs_for(nv_simd_for(partition));
    return transform_cost(partition, c->first2, c->first4, c->pass4, c->to_spectrum);
}

nv_job_cost nv_cost_of_job(int partition, int partitions, int inputs, int early) {
    const nv_simd *simd = nv_simd_for(partition);
    const nv_costs *c = nv_costs_for(simd);
    int vectors = partition / simd->lanes;
    double forward = nv_cost_of_transform(partition);
    double inverse = transform_cost(partition, c->last2, c->last4, c->inverse4, c->from_spectrum);
    int together =
        inputs == 1 && c->shared_product < 2 * c->product; /* as together() in kernel_products.c */
    double pair = together ? c->shared_pair / 2 : c->pair,
           product = together ? c->shared_product / 2 : c->product;
    double newest = vectors / 2 * (pair + product * (early ? 1 : partitions));
    double older = early && partitions > 1 ? vectors / 2 * (pair + product * (partitions - 1)) : 0;
    double urgent = inputs * forward + NV_OUTPUTS * (inverse + newest);
    double spectra = 8.0 * partition * partitions;
    return (nv_job_cost){.all = urgent + NV_OUTPUTS * older,
                         .urgent = urgent,
                         .bytes = spectra * (inputs + NV_OUTPUTS)};
}

double nv_cost_of_block(const nv_layout *layout, int waiting) {
    const nv_costs *c = nv_costs_for(nv_best_simd());
    double sum = c->block;
    int block = (int)layout->block_frames;
    for (uint32_t s = 0; s < layout->stages; s++) {
        const nv_stage *stage = &layout->stage[s];
        int blocks = (int)stage->partition_frames / block,
            early = nv_stage_early(nv_stage_delay(stage, block), blocks);
        nv_job_cost job = nv_cost_of_job((int)stage->partition_frames, (int)stage->partitions,
                                         (int)layout->inputs, early);
        sum += (job.all + (waiting ? job.bytes * c->byte : 0)) / blocks + c->stage;
    }
    return sum;
}

/* A crossfade of the output (tails that follow, or the move of a passage) takes a stage
 * after at most P + K B frames and the fade; the next one waits for it. At 48 kHz, with a fade of
 * 15 ms, for all rooms of an engine whose longest room is
 *
 *     1.5 s    partitions of 2048     100 ms at most
 *     3.0 s                  4096     160 ms
 *     more                   8192     270 ms
 *
 * Larger partitions would save little, and tails that follow would sound stepped. */
enum { LONGEST_PARTITION = 8192 };
static int longest_partition(int block, int max_taps) {
    int longest = 2048;
    while (longest < LONGEST_PARTITION && 36 * longest < max_taps) longest *= 2;
    return longest > block ? longest : block;
}

/* A stage of this many blocks must work ahead, so that its part of a change of IR spreads over the
 * catch-up's time. */
enum { MANY_BLOCKS = 16 };

/* 1 if the stage can do its urgent work at an even rate within its K + 1 blocks, with half a block
 * for rounding. */
static int in_time(const nv_layout *base, const nv_stage *stage) {
    int block = (int)base->block_frames, blocks = (int)stage->partition_frames / block,
        delay = nv_stage_delay(stage, block);
    if (!nv_stage_early(delay, blocks)) return blocks < MANY_BLOCKS;
    nv_job_cost job =
        nv_cost_of_job((int)stage->partition_frames, (int)stage->partitions, (int)base->inputs, 1);
    return (delay + 0.5) * job.all >= job.urgent * blocks;
}

typedef struct {
    const nv_layout *base;
    nv_layout *best;
    double best_cost;
    int longest;
} search;

/* Tries all continuations of `trial`, whose last stage has no number of partitions yet. */
static void try_all(search *found, nv_layout *trial) {
    int block = (int)trial->block_frames, taps = (int)trial->max_taps;
    nv_stage *last = &trial->stage[trial->stages - 1];
    int size = (int)last->partition_frames, offset = (int)last->offset_taps;
    last->partitions = (uint32_t)(taps > offset ? (taps - offset + size - 1) / size : 1);
    if (in_time(trial, last)) {
        double cost = nv_cost_of_block(trial, 1);
        if (cost < found->best_cost) found->best_cost = cost, *found->best = *trial;
    }
    if (trial->stages == NV_MAX_STAGES) return;
    for (int next = 2 * size; next <= found->longest; next *= 2) {
        /* Delays for which this stage ends after a whole number of partitions: up to nine, the
         * longest included. */
        int blocks = next / block, step = size / block, longest = blocks - 1, tries = 0;
        while (longest >= 0 && (next + (longest - 1) * block - offset) % size) longest--;
        int stride = (longest / step / 8 + 1) * step;
        for (int delay = longest; delay >= 1 && tries < 9; delay -= stride, tries++) {
            int first_tap = next + (delay - 1) * block;
            if (first_tap >= taps || first_tap <= offset) continue;
            last->partitions = (uint32_t)((first_tap - offset) / size);
            if (!in_time(trial, last)) continue;
            trial->stage[trial->stages++] =
                (nv_stage){.partition_frames = (uint32_t)next, .offset_taps = (uint32_t)first_tap};
            try_all(found, trial);
            trial->stage[--trial->stages] = (nv_stage){0};
        }
    }
}

int nv_layout_plan(nv_layout *layout, int block_frames, int max_taps, int inputs) {
    memset(layout, 0, sizeof *layout);
    if (block_frames < NV_MIN_BLOCK || block_frames > NV_MAX_BLOCK ||
        (block_frames & (block_frames - 1)))
        return NV_E_BLOCK;
    if (max_taps < 1 || max_taps > NV_MAX_TAPS) return NV_E_TAPS;
    if (inputs < 1 || inputs > 2) return NV_E_CHANNELS;
    nv_layout trial = {
        .version = NV_LAYOUT_VERSION,
        .lanes = (uint32_t)nv_best_simd()->lanes,
        .block_frames = (uint32_t)block_frames,
        .max_taps = (uint32_t)max_taps,
        .inputs = (uint32_t)inputs,
        .stages = 1,
        .stage = {{.partition_frames = (uint32_t)block_frames}},
    };
    search found = {
        .best = layout, .best_cost = 1e300, .longest = longest_partition(block_frames, max_taps)};
    try_all(&found, &trial);
    return NV_OK;
}

int nv_layout_check(const nv_layout *layout) {
    if (layout->version != NV_LAYOUT_VERSION || layout->lanes != (uint32_t)nv_best_simd()->lanes)
        return NV_E_LAYOUT;
    uint32_t block = layout->block_frames;
    if (block < NV_MIN_BLOCK || block > NV_MAX_BLOCK || (block & (block - 1))) return NV_E_LAYOUT;
    if (layout->max_taps < 1 || layout->max_taps > NV_MAX_TAPS || layout->inputs < 1 ||
        layout->inputs > 2)
        return NV_E_LAYOUT;
    if (layout->stages < 1 || layout->stages > NV_MAX_STAGES) return NV_E_LAYOUT;
    /* Everything else follows from the first stage, the sizes and the delays. */
    uint32_t end = 0, size = 0;
    for (uint32_t s = 0; s < layout->stages; s++) {
        const nv_stage *stage = &layout->stage[s];
        uint32_t p = stage->partition_frames;
        if (s == 0 ? p != block : p <= size || p > NV_LARGEST_PARTITION || (p & (p - 1)))
            return NV_E_LAYOUT;
        if (stage->offset_taps != end || end % block) return NV_E_LAYOUT;
        if (s && (end < p || end > 2 * p - 2 * block))
            return NV_E_LAYOUT; /* a delay of 1 .. M - 1 blocks */
        if (stage->partitions < 1 || stage->partitions > (NV_MAX_TAPS + p - 1) / p)
            return NV_E_LAYOUT;
        end += stage->partitions * p, size = p;
    }
    return end >= layout->max_taps && end - layout->max_taps < size + NV_MAX_BLOCK ? NV_OK
                                                                                   : NV_E_LAYOUT;
}
