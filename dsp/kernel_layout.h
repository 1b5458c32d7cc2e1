/* What kernel.c and kernel_plan.c share. */
#ifndef NV_KERNEL_LAYOUT_H
#define NV_KERNEL_LAYOUT_H
#include "kernel.h"
#include "kernel_simd.h"

enum {
    NV_LAYOUT_VERSION = 1,
    NV_MAX_TAPS = 10 * 192000, /* 10 s at the highest rate */
    NV_LARGEST_PARTITION = 16384,
};

/* The build for transforms of many points, chosen once by what the processor can do. */
const nv_simd *nv_best_simd(void);
/* Instructions of one block for one channel of a stage, by the cost model. */
double nv_stage_cost(int block, int partition, int partitions);
#endif
