/* The kernel's state, and the calls between kernel.c, kernel_jobs.c and kernel_change.c. */
#ifndef NV_KERNEL_STAGE_H
#define NV_KERNEL_STAGE_H
#include "kernel.h"
#include "kernel_plan.h"
#include "kernel_simd.h"

enum { NV_SIDES = 2 }; /* the playing IR and the one that fades in take turns */
enum { NV_MAX_STEPS = 2 * (2 + NV_MAX_PASSES) + NV_SIDES * NV_OUTPUTS * (4 + NV_MAX_PASSES) };

typedef struct {
    signed char kind, side, pass, which;
    signed char channel; /* an input or an output */
    signed char sums;    /* which set of the stage's sums */
    int64_t job;         /* the job whose input is the newest */
    int units, grain;    /* a slice is a multiple of `grain` units */
    float cost;          /* of a unit */
} nv_step;

typedef struct {
    nv_step steps[NV_MAX_STEPS];
    int count, urgent_steps, at_step, at_unit;
    float cost, urgent, done;
} nv_work_list;

/* The conditions that a job's list depends on. */
typedef struct {
    int old, fresh;           /* which IR has output in this job */
    int next_old, next_fresh; /* which IR gets sums for the next job */
    int in_catch_up;          /* the catch-up computes the new IR's output of this job */
} nv_job_plan;

/* The part of an IR that a stage convolves with. */
typedef struct {
    int partitions, inputs;
    int together; /* both outputs have the same inputs: one step computes both */
    nv_product product[NV_OUTPUTS][2]; /* [output][input]; if together, only the first is used */
} nv_stage_part;

typedef struct {
    int size, blocks, delay, early; /* P, M, K in kernel.c; 1 if there is an early part */
    int shift;                      /* M as a power of two */
    int inputs_kept;                /* inputs in the ring */
    int ring_partitions; /* a small ring holds each input twice, so that reads do not wrap */
    size_t again;        /* floats between the two copies */
    const nv_simd *simd;
    const nv_costs *costs;
    nv_fft fft;
    float *ring[2], *z;                /* spectra of the inputs; work space of their transforms */
    float *sums[NV_SIDES][NV_OUTPUTS]; /* sums of products, then transformed back in place */
    float *output[NV_SIDES][2][NV_OUTPUTS]; /* [side][odd or even job] */
    nv_stage_part parts[NV_SIDES];
    int side; /* the playing side */
    /* the job */
    int64_t job;
    int newest; /* partition of the ring that holds its input */
    nv_job_plan plan;
    nv_work_list main;
    int transforms;                               /* steps before the ring holds the job's input */
    int side_sums[NV_SIDES], next_sums[NV_SIDES]; /* the set of sums of this job, and of the next */
    int stale, beginning; /* the list must be rebuilt; its first steps, see begin_list() */
    float beginning_cost;
    /* a change of IR */
    int changing, catching_up;
    int64_t first_job, fade_from, fade_to; /* a job; blocks */
    nv_work_list catch_up;
} nv_kernel_stage;

struct nv_kernel {
    nv_layout layout;
    int block, inputs, stages, ring_frames, fade_frames;
    float *input[2]; /* ring of input frames, long enough for the largest job */
    int64_t blocks;  /* received so far */
    nv_kernel_stage stage[NV_MAX_STAGES];
    const void *playing, *incoming;
    int fading;
    int64_t fast_until;     /* block until which stages without catch-up crossfade ... */
    float fast_cost;        /* ... and their additional cost in each of these blocks */
    float turn_re, turn_im; /* rotation of the crossfade's phasor per piece */
    size_t bytes;
};

/* In kernel_jobs.c: */

/* Advances to the next job. */
void nv_next_job(nv_kernel_stage *s);
/* Does this block's share of the stage's work. */
void nv_work_block(const nv_kernel *k, nv_kernel_stage *s);
/* The first stage's job in one block: transforms the inputs; computes the output of `side`. */
void nv_work_input(const nv_kernel *k, nv_kernel_stage *s);
void nv_work_answer(const nv_kernel_stage *s, int side, float *const *out);
/* After a load: builds the catch-up's list. */
void nv_plan_catch_up(nv_kernel_stage *s);
/* Cost of the products and inverse transforms of a job, without an early part. */
float nv_job_cost_of(const nv_kernel_stage *s, int side);

/* In kernel_change.c: */

/* After a block: ends the crossfades that are over. */
void nv_end_fades(nv_kernel *k);
#endif
