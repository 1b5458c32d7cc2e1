/* The kernel's state, and the calls between kernel.c, kernel_jobs.c and kernel_change.c. */
#ifndef NV_KERNEL_STAGE_H
#define NV_KERNEL_STAGE_H
#include "kernel.h"
#include "kernel_fft.h"
#include "kernel_plan.h"
#include "kernel_simd.h"

enum {
    NV_SIDES = 2, /* in a crossfade: as it was, and as it will be; they take turns */
    NV_PASSAGES = NV_MAX_ROOMS + 1, /* also one without a room */
    NV_OPENINGS = 2 * NV_PASSAGES,
    NV_TRANSFORM_STEPS = 2 * (3 + NV_MAX_PASSES),         /* of two inputs */
    NV_SIDE_STEPS = 2 + NV_OUTPUTS * (1 + NV_MAX_PASSES), /* products and the way back */
    NV_MAX_STEPS = NV_OPENINGS * NV_TRANSFORM_STEPS + NV_SIDES * NV_SIDE_STEPS,
};
#define NV_FOREVER INT64_MAX

/* The input between two changes of room. Its weight rises in the frames from .. from + fade_in,
 * while that of the passage before it falls: at each frame the weights of all passages add up to
 * 1. */
typedef struct {
    int64_t from, to; /* frames; NV_FOREVER: this is the newest passage */
    int fade_in, fade_out;
    signed char room, next_room; /* the room in which it sounds now, and after the crossfade; an
                                  * index, -1: silence */
    float energy;  /* of its input, forgotten as time passes: nv_note_energy() */
    double middle; /* of that energy in time: a frame */
} nv_passage;

typedef struct {
    signed char kind, side, pass, which; /* which partitions, or which half */
    signed char channel;                 /* an input or an output */
    signed char sums;                    /* which set of the stage's sums */
    signed char opening;                 /* index in the stage's `opened` */
    int units, grain;                    /* a slice is a multiple of `grain` units */
    float cost;                          /* of a unit */
    int64_t job;                         /* the job whose input is the newest */
} nv_step;

/* What is multiplied with what in a sum of products. */
typedef struct {
    nv_run *run[NV_OUTPUTS];
    int count[NV_OUTPUTS], products[NV_OUTPUTS];
    int together; /* the first list is for both outputs */
} nv_runs;

typedef struct {
    nv_step *steps;
    int count, urgent_steps, at_step, at_unit;
    float cost, urgent, done;
    float building;   /* cost of building it */
    nv_runs runs;     /* of the step in work */
    int runs_changed; /* a spare of theirs was freed: find them again */
} nv_work_list;

/* The conditions that a job's list depends on. */
typedef struct {
    int old, fresh;           /* which side has output in this job */
    int next_old, next_fresh; /* which side gets sums for the next job */
    int in_catch_up;          /* the catch-up computes the new side's output of this job */
} nv_job_plan;

/* The part of a room's IR that a stage convolves with. */
typedef struct {
    int partitions;
    int together; /* each input goes to both outputs: its spectra need to be read only once */
    const float *filter[2][NV_OUTPUTS]; /* [input][output]; NULL: no such path */
} nv_stage_part;

/* Windows from .. to - 1. Window n is the input that job n transforms: its own frames and those
 * before, 2 P in all. */
typedef struct {
    int64_t from, to;
} nv_windows;

/* A spectrum beside the ring: an older passage's share of a window in which a fade is. */
typedef struct {
    int64_t window;
    signed char passage; /* -1: free */
} nv_spare;

/* The weight of a passage in some frames of input. */
typedef enum { NV_NOTHING, NV_RISING, NV_COMPLETE, NV_FALLING } nv_weight;

/* A passage's share of the job's input, which is being transformed. The spectrum of the job's
 * window is that of its share of the input before, plus i times this one. */
typedef struct {
    nv_passage passage; /* as it was at the begin of the job */
    int spare;          /* where the window's spectrum goes; -1: into the ring */
    int next_spare;     /* where that of the share goes, as the next window's; -1: to `hop` */
    signed char before; /* where that of the share before is: nv_before */
    signed char weight; /* nv_weight; -1: several */
} nv_opening;
typedef enum { NV_SILENCE_BEFORE, NV_IN_HOP, NV_IN_SPARE } nv_before;

typedef struct {
    int size, blocks, delay, early; /* P, M, K in kernel.c; 1 if there is an early part */
    int shift;                      /* M as a power of two */
    int inputs_kept;                /* windows in the ring */
    int ring_partitions; /* a small ring holds each window twice, so that reads do not wrap */
    size_t again;        /* floats between the two copies */
    const nv_simd *simd;
    const nv_costs *costs;
    nv_fft fft;
    float *ring[2], *z;                     /* spectra of windows; work space of their transforms */
    float *gathered;                        /* a passage's share of a job's input, P frames */
    float *hop[2];                          /* the spectrum of the newest passage's share */
    int hop_passage;                        /* whose share that is */
    float *sums[NV_SIDES][NV_OUTPUTS];      /* sums of products, then transformed back in place */
    float *output[NV_SIDES][2][NV_OUTPUTS]; /* [side][odd or even job] */
    nv_stage_part parts[NV_MAX_ROOMS];
    /* Whose spectrum the ring holds: of each window the newest passage's. Shares of older passages
     * are spares. */
    nv_windows ring_of[NV_PASSAGES];
    nv_spare *spare;
    float *spare_ring[2];
    int spares, spares_used, next_spare;
    int duplicates;            /* 1: some spares belong to the same passage as the ring's */
    int merging, merged_pairs; /* the spare that is being merged, if pairs are done ... */
    int64_t merging_window;    /* ... and its window: later it may be another's */
    int side;                  /* the playing side */
    int moved; /* it plays `next_room`: the crossfade is over here, not yet in all stages */
    /* the job */
    int64_t job;
    int newest; /* partition of the ring that holds its input */
    nv_opening opened[NV_OPENINGS];
    int openings;
    nv_job_plan plan;
    nv_work_list main;
    int steady;        /* the list is the same in the next job; of the first stage, the runs */
    float steady_cost; /* of the list then; of the first stage, of its products */
    int transforms;    /* steps before the ring holds the job's input */
    int side_sums[NV_SIDES], next_sums[NV_SIDES]; /* the set of sums of this job, and of the next */
    int64_t summed[NV_SIDES]; /* the job for which the set has sums of older partitions */
    /* a crossfade */
    int changing, catching_up;
    int64_t first_job, fade_from, fade_to; /* a job; blocks */
    nv_work_list catch_up;
} nv_kernel_stage;

struct nv_kernel {
    nv_layout layout;
    int block, inputs, stages, ring_frames, fade_frames;
    float *input[2];               /* ring of input frames, long enough for the largest job */
    float *rising[2], *falling[2]; /* the same in fades, times the weight of the newest passage, and
                                    * of the one before; they add up to the input */
    int64_t blocks;                /* received so far */
    nv_kernel_stage stage[NV_MAX_STAGES];
    const void *room[NV_MAX_ROOMS]; /* spectra; NULL: a free place */
    int rooms;                      /* places in use */
    nv_passage passage[NV_PASSAGES];
    signed char order[NV_PASSAGES]; /* indices of passages, the oldest first */
    int passages;
    float kept;           /* the part of a passage's energy that is not forgotten in four blocks */
    int rise_frames;      /* of the newest passage's fade */
    int crossfading;      /* passages go from `room` to `next_room` */
    int crossfade_frames; /* its length */
    int64_t fast_until;   /* block until which stages without catch-up crossfade ... */
    float fast_cost;      /* ... and their additional cost in each of these blocks */
    size_t bytes;
};

static inline int64_t nv_passage_end(const nv_passage *p) {
    return p->to == NV_FOREVER ? NV_FOREVER : p->to + p->fade_out;
}
/* The last window that has input of a passage which is over. */
static inline int64_t nv_last_window(const nv_passage *p, int size) {
    return (nv_passage_end(p) + size - 1) / size + 1;
}
static inline const nv_passage *nv_newest_passage(const nv_kernel *k) {
    return &k->passage[(int)k->order[k->passages - 1]];
}

/* The spares in use, newer windows first: call with *at = -1 and *seen = 0 until it returns 0. They
 * are handed out backwards from `next_spare`, so that the newest are found soon. */
static inline int nv_next_spare(const nv_kernel_stage *s, int *at, int *seen) {
    if (*seen == s->spares_used) return 0;
    if (*at < 0) *at = s->next_spare;
    do
        if (++*at == s->spares) *at = 0;
    while (s->spare[*at].passage < 0);
    ++*seen;
    return 1;
}

/* In kernel_passages.c: */

/* The gain of a raised cosine at the ends of the pieces of this block; `block` counts from the
 * fade's begin. */
void nv_fade_gains(const nv_kernel *k, int64_t block, int fade_frames, float *gain);
/* After a block's input has arrived: every four blocks, adds their energy to that of the passages
 * that they are in. */
void nv_note_energy(nv_kernel *k);
float nv_kept_energy(const nv_layout *layout);
/* The energy of what a passage would still sound like in a room (an index, -1: silence): an
 * estimate. */
float nv_ringing(const nv_kernel *k, const nv_passage *p, int room);
/* The same in the passage's own room: an upper limit. */
float nv_most_ringing(const nv_kernel *k, const nv_passage *p);
/* After a block's input has arrived: weighs it, if a passage fades in. */
void nv_weigh_input(nv_kernel *k);
/* Finds the passages that have a share of the job's input, and places for the spectra of each. */
void nv_open_window(const nv_kernel *k, nv_kernel_stage *s);
/* The index of this spare; -1: there is none. */
int nv_find_spare(const nv_kernel_stage *s, int64_t window, int passage);
/* Merges a part of a spare with the spectrum of the same window and passage, if passages were
 * joined. */
void nv_merge_spares(nv_kernel_stage *s, int inputs);
/* Frees the spares that no later job needs. */
void nv_expire_spares(nv_kernel_stage *s);
/* A share, P frames. */
const float *nv_share(const nv_kernel *k, const nv_kernel_stage *s, const nv_opening *o, int input);
/* Copies a share that has several weights into the stage's `gathered`. Unit: NV_MIN_BLOCK
 * frames. */
void nv_gather(const nv_kernel *k, nv_kernel_stage *s, const nv_opening *o, int input, int from,
               int to);
/* Where the spectra of a share go. */
nv_target nv_target_of(const nv_kernel_stage *s, const nv_opening *o, int input);

/* In kernel_products.c: */

enum { NV_ALL, NV_NEWEST, NV_OLDER }; /* partitions of a job's sums */

/* Finds the products of a job on one side. They stay valid until the next job. `together`: those of
 * both outputs may be. */
void nv_find_runs(const nv_kernel *k, const nv_kernel_stage *s, int side, int which, int64_t job,
                  int together, nv_runs *runs);
/* sums = (more ? sums : 0) + the products. Unit: two pairs of vectors of one output, the outputs in
 * turn; from and to are even if the runs are together. */
void nv_multiply(const nv_kernel_stage *s, const nv_runs *runs, float *const *sums, int more,
                 int from, int to);
/* Instructions of one pair of both outputs, or of one unit; 0 if there is no product. */
float nv_cost_of_runs(const nv_kernel_stage *s, const nv_runs *runs);

/* In kernel_jobs.c: */

/* Does this block's share of the stage's work. `extra`: what a fade adds in this block to the cost
 * of the stages before; returns that and what it adds to this one. */
float nv_work_block(const nv_kernel *k, nv_kernel_stage *s, float extra);
/* The first stage's job in one block: transforms the inputs; computes the output of `side`. */
void nv_work_input(const nv_kernel *k, nv_kernel_stage *s);
void nv_work_answer(const nv_kernel *k, nv_kernel_stage *s, int side, float *const *out);
/* After the output of the first stage: what a fade adds to its cost. */
float nv_extra_of_first(const nv_kernel *k, const nv_kernel_stage *s);
/* After the begin of a crossfade: builds the catch-up's list. */
void nv_plan_catch_up(const nv_kernel *k, nv_kernel_stage *s);
/* Cost of the products and inverse transforms of a job, without an early part. */
float nv_job_cost_of(const nv_kernel *k, nv_kernel_stage *s, int side);

/* In kernel_change.c: */

/* After a block: ends crossfades, joins and drops passages, moves some. */
void nv_tend_passages(nv_kernel *k);
#endif
