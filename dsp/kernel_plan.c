/* How an IR is cut into partitions: the cost model, and the search for the cheapest cut.
 *
 * Stage 0 has partitions of one block and answers at once. A later stage of partitions of P frames takes its input when P frames
 * are there and has the next P frames' time to work (its load spread evenly over P / B blocks), so its first tap may lie no
 * earlier than 2P - B (Gardner 1995, section 3.2; Garcia 2002 searches such cuts by dynamic programming; Wefers 2015, ch. 5.4).
 * Each stage therefore reaches to the first tap of the next, and the cut is a list of partition sizes.
 *
 * Cost of a block, in instructions of an AVX2 build for one channel (counted by callgrind on this source, other SIMD widths keep
 * the proportions well enough to choose by):
 *
 *     stage of P frames and n partitions:  (B / P) * (P / 8) * (2 * FFT(P) + MULTIPLY * n + OVERHEAD)   per vector of 8
 *     FFT(P) = PASS * log4(P / 8) + LANES        passes of radix 4, and the transform across lanes
 */
#include <string.h>

#include "kernel_layout.h"

static const double PASS = 13.0, LANES = 19.0, MULTIPLY = 8.5, OVERHEAD = 20.0, SLICE = 60.0;

/* A change of IR takes effect in a stage when its next job is done, after up to 2P frames: this bounds how long a knob's turn
 * takes to be heard in full. */
enum { LONGEST_PARTITION = 2048 };

double nv_stage_cost(int block, int partition, int partitions) {
    double passes = 0;
    for (int n = partition / 8; n >= 4; n /= 4) passes += 1;
    for (int n = partition / 8; n > 0; n /= 4)
        if (n == 2) passes += 0.7; /* the one pass of radix 2 */
    double per_vector = 2 * (PASS * passes + LANES) + MULTIPLY * partitions + OVERHEAD;
    return block / 8.0 * per_vector + (partition > block ? SLICE : 0);
}

static int first_tap(int block, int partition) { return partition == block ? 0 : 2 * partition - block; }

/* Sizes are tried recursively, each at least twice the last: at most 2^7 lists. */
static void search(const nv_layout *base, nv_stage *stages, int count, double cost, nv_layout *best, double *best_cost) {
    int block = (int)base->block_frames, taps = (int)base->max_taps;
    nv_stage *last = &stages[count - 1];
    int size = (int)last->partition_frames, offset = (int)last->offset_taps;
    { /* the last one: it reaches to the end */
        int partitions = (taps - offset + size - 1) / size;
        if (partitions < 1) partitions = 1;
        double total = cost + nv_stage_cost(block, size, partitions);
        if (total < *best_cost) {
            *best_cost = total;
            *best = *base;
            best->stages = (uint32_t)count;
            memcpy(best->stage, stages, (size_t)count * sizeof *stages);
            best->stage[count - 1].partitions = (uint32_t)partitions;
        }
    }
    int longest = block > LONGEST_PARTITION ? block : LONGEST_PARTITION;
    for (int next = 2 * size; next <= longest && count < NV_MAX_STAGES; next *= 2) {
        int reach = first_tap(block, next) - offset;
        if (first_tap(block, next) >= taps) break;
        if (reach % size) continue;
        last->partitions = (uint32_t)(reach / size);
        stages[count] = (nv_stage){.partition_frames = (uint32_t)next, .offset_taps = (uint32_t)first_tap(block, next)};
        search(base, stages, count + 1, cost + nv_stage_cost(block, size, reach / size), best, best_cost);
    }
}

int nv_layout_plan(nv_layout *layout, int block_frames, int max_taps, int inputs) {
    memset(layout, 0, sizeof *layout);
    if (block_frames < NV_MIN_BLOCK || block_frames > NV_MAX_BLOCK || (block_frames & (block_frames - 1))) return NV_E_BLOCK;
    if (max_taps < 1 || max_taps > NV_MAX_TAPS) return NV_E_TAPS;
    if (inputs < 1 || inputs > 2) return NV_E_CHANNELS;
    nv_layout base = {
        .version = NV_LAYOUT_VERSION,
        .lanes = (uint32_t)nv_best_simd()->lanes,
        .block_frames = (uint32_t)block_frames,
        .max_taps = (uint32_t)max_taps,
        .inputs = (uint32_t)inputs,
    };
    nv_stage stages[NV_MAX_STAGES + 1] = {{.partition_frames = (uint32_t)block_frames}};
    double best_cost = 1e300;
    search(&base, stages, 1, 0, layout, &best_cost);
    return NV_OK;
}

int nv_layout_check(const nv_layout *layout) {
    if (layout->version != NV_LAYOUT_VERSION || layout->lanes != (uint32_t)nv_best_simd()->lanes) return NV_E_LAYOUT;
    if (layout->block_frames < NV_MIN_BLOCK || layout->block_frames > NV_MAX_BLOCK || (layout->block_frames & (layout->block_frames - 1)))
        return NV_E_LAYOUT;
    if (layout->max_taps < 1 || layout->max_taps > NV_MAX_TAPS || layout->inputs < 1 || layout->inputs > 2) return NV_E_LAYOUT;
    if (layout->stages < 1 || layout->stages > NV_MAX_STAGES) return NV_E_LAYOUT;
    /* Everything else follows from the first stage and the sizes. */
    uint32_t end = 0, size = 0;
    for (uint32_t s = 0; s < layout->stages; s++) {
        const nv_stage *stage = &layout->stage[s];
        uint32_t p = stage->partition_frames;
        if (s == 0 ? p != layout->block_frames : p <= size || p > NV_LARGEST_PARTITION || (p & (p - 1))) return NV_E_LAYOUT;
        if (stage->offset_taps != end || (s && end < 2 * p - layout->block_frames)) return NV_E_LAYOUT;
        if (stage->partitions < 1 || stage->partitions > (NV_MAX_TAPS + p - 1) / p) return NV_E_LAYOUT;
        end += stage->partitions * p, size = p;
    }
    return end >= layout->max_taps && end - layout->max_taps < size + NV_MAX_BLOCK ? NV_OK : NV_E_LAYOUT;
}
