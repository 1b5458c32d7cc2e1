/* The cost model of kernel_plan.c, and figures that follow from a layout. */
#ifndef NV_KERNEL_PLAN_H
#define NV_KERNEL_PLAN_H
#include "kernel.h"
#include "kernel_simd.h"

enum {
    NV_LAYOUT_VERSION = 3,
    NV_MAX_TAPS = 10 * 192000, /* 10 s at the highest rate */
    NV_LARGEST_PARTITION = 16384,
};

/* Instructions for one unit of each inner loop of kernel_simd.c; see kernel_plan.c. */
typedef struct nv_costs {
    float first2, first4, pass4, to_spectrum, from_spectrum, inverse4, last2,
        last4;                         /* a butterfly; a group of vectors */
    float pair, product;               /* multiply: a pair of vectors; each product of it */
    float shared_pair, shared_product; /* the same for two outputs at once */
    float run;                         /* multiply: a further run of partitions, for a pair */
    float gather;                      /* of a passage's share: a vector of spectrum */
    float byte;                        /* waiting for a byte of spectra from memory */
    float slice;                       /* of a list: selecting and calling */
    float stage, block;                /* per block: a later stage, the kernel */
} nv_costs;
const nv_costs *nv_costs_for(const nv_simd *simd);

/* Blocks from the arrival of a partition's last frame to the first block in which its output is
 * added (0: the same). */
static inline int nv_stage_delay(const nv_stage *stage, int block) {
    return ((int)stage->offset_taps - (int)stage->partition_frames) / block + 1;
}
/* 1 if a job of `blocks` blocks multiplies all partitions except the newest ahead of time. */
static inline int nv_stage_early(int delay, int blocks) { return delay < blocks - 1; }

/* Instructions of one job (a partition's worth of input) of a stage, with a stereo IR, by the cost
 * model: the complete job, and the part between the input's arrival and the output. */
typedef struct nv_job_cost {
    double all, urgent;
    double bytes; /* of spectra that its products read */
} nv_job_cost;
double nv_cost_of_transform(int partition);
nv_job_cost nv_cost_of_job(int partition, int partitions, int inputs, int early);
/* Instructions of one block. `waiting`: and those that it could have done while it waits for
 * memory. */
double nv_cost_of_block(const nv_layout *layout, int waiting);
#endif
