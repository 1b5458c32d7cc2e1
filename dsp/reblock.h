/* Plays any host block on an engine whose blocks are powers of two.
 *
 *   host block                        engine block            added latency
 *   a power of two, 16 .. 1024        the same                0
 *   a larger power of two, .. 4096    1024                    0
 *   another multiple of 16            its largest power       0
 *                                     of two
 *   any other                         16                      16 - gcd(host, 16), at most 15 frames
 *
 * Small blocks cost more processor time, not much: the kernel spreads its work over blocks. So no
 * latency is added to save it.
 *
 * nv_reblock_new() allocates; nv_reblock_run() has the guarantees of kernel.h.
 */
#ifndef NV_REBLOCK_H
#define NV_REBLOCK_H
#include "kernel.h"

enum { NV_MIN_HOST_FRAMES = 16, NV_MAX_HOST_FRAMES = 4096 };

/* The engine's block for a host block in NV_MIN_HOST_FRAMES..NV_MAX_HOST_FRAMES; else 0. */
int nv_reblock_frames(int host_frames);
/* Frames of latency that it adds. */
int nv_reblock_delay(int host_frames);

/* One block of the engine: inputs, wet and dry channels of engine block frames each. */
typedef void nv_reblock_process(void *engine, const float *const *in, float *const *wet,
                                float *const *dry);

typedef struct nv_reblock nv_reblock;
nv_reblock *nv_reblock_new(int host_frames, int inputs); /* NULL: out of memory */
void nv_reblock_free(nv_reblock *r);
/* One host block. in: inputs; wet, dry: NV_OUTPUTS channels; host frames each. Audio thread. */
void nv_reblock_run(nv_reblock *r, const float *const *in, float *const *wet, float *const *dry,
                    nv_reblock_process *process, void *engine);
#endif
