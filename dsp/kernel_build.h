/* Which build of kernel_simd.c runs: chosen by what the processor supports. */
#ifndef NV_KERNEL_BUILD_H
#define NV_KERNEL_BUILD_H
#include "kernel_simd.h"

/* The best build for this processor. */
const nv_simd *nv_best_simd(void);
/* The build for a transform of `points` points: one that is too small to fill four vectors of the best build uses the baseline. */
const nv_simd *nv_simd_for(int points);
#endif
