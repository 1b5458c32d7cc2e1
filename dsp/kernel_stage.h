/* The kernel's state, and what its files call of each other: kernel.c, kernel_jobs.c, kernel_change.c. */
#ifndef NV_KERNEL_STAGE_H
#define NV_KERNEL_STAGE_H
#include "kernel.h"
#include "kernel_plan.h"
#include "kernel_simd.h"

enum { NV_SIDES = 2 }; /* the IR that plays, and the one that is faded in, by turns */
enum { NV_MAX_STEPS = 2 * (2 + NV_MAX_PASSES) + NV_SIDES * NV_OUTPUTS * (4 + NV_MAX_PASSES) };

typedef struct {
    signed char kind, channel, side, pass, which,
        sums;         /* channel: an input or an output; sums: the stage's set of them */
    int64_t job;      /* whose input is the newest */
    int units, grain; /* a slice is a multiple of `grain` units */
    float cost;       /* of a unit */
} nv_step;

typedef struct {
    nv_step steps[NV_MAX_STEPS];
    int count, urgent_steps, at_step, at_unit;
    float cost, urgent, done;
} nv_work_list;

/* What a job's list depends on. */
typedef struct {
    int old, fresh, next_old,
        next_fresh;  /* who answers in this job; whose sums are made for the next */
    int in_catch_up; /* the new IR's answer of this job is the catch-up's */
} nv_job_plan;

/* A stage's part of an IR. */
typedef struct {
    int partitions, inputs,
        together; /* together: both outputs hear the same inputs, and their products are made in one step */
    nv_product product[NV_OUTPUTS][2]; /* [output][input], or together the first for all */
} nv_stage_part;

typedef struct {
    int size, blocks, delay, early; /* P, M, K of the text above; whether there is an early part */
    int shift;                      /* M as a power of two */
    int inputs_kept,
        ring_partitions; /* the ring holds so many inputs, a small one each of them twice: no wrap when it is read */
    size_t again; /* floats from the one to the other */
    const nv_simd *simd;
    const nv_costs *costs;
    nv_fft fft;
    float *ring[2], *z;                /* spectra of the inputs; work space of their transforms */
    float *sums[NV_SIDES][NV_OUTPUTS]; /* products summed up, then transformed back in place */
    float *output[NV_SIDES][2][NV_OUTPUTS]; /* [side][odd or even job] */
    nv_stage_part parts[NV_SIDES];
    int side; /* the one that plays */
    /* the job */
    int64_t job;
    int newest; /* partition of the ring that holds its input */
    nv_job_plan plan;
    nv_work_list main;
    int transforms; /* steps of it until the ring holds the job's input */
    int side_sums[NV_SIDES], next_sums[NV_SIDES]; /* the set of sums of this job, and of the next */
    int stale, beginning; /* the list is to be made anew; its first steps, see begin_list() */
    float beginning_cost;
    /* a change of IR */
    int changing, catching_up;
    int64_t first_job, fade_from, fade_to; /* a job; blocks */
    nv_work_list catch_up;
} nv_kernel_stage;

struct nv_kernel {
    nv_layout layout;
    int block, inputs, stages, ring_frames, fade_frames;
    float *input[2]; /* ring of the last frames, long enough for the largest job */
    int64_t blocks;  /* taken in so far */
    nv_kernel_stage stage[NV_MAX_STAGES];
    const void *playing, *incoming;
    int fading;
    int64_t
        fast_until; /* block: the stages without catch-up are in their crossfades, which costs fast_cost more in each block */
    float fast_cost;
    float turn_re, turn_im; /* of the crossfade's phasor in a piece */
    size_t bytes;
};

/* kernel_jobs.c */

/* Moves on to the next job. */
void nv_next_job(nv_kernel_stage *s);
/* The stage's share of a block's work. */
void nv_work_block(const nv_kernel *k, nv_kernel_stage *s);
/* The first stage's input and its answer, in one go. */
void nv_work_input(const nv_kernel *k, nv_kernel_stage *s);
void nv_work_answer(const nv_kernel_stage *s, int side, float *const *out);
/* After a load: fills the catch-up's list. */
void nv_plan_catch_up(nv_kernel_stage *s);
/* Cost of a job of a side without an early part. */
float nv_job_cost_of(const nv_kernel_stage *s, int side);

/* kernel_change.c */

/* After a block: ends the crossfades that are over. */
void nv_end_fades(nv_kernel *k);
#endif
