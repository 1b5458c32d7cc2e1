/* Selects the build of kernel_simd.c for the features of this processor. */
#ifndef NV_KERNEL_BUILD_H
#define NV_KERNEL_BUILD_H
#include "kernel_simd.h"

/* The best build for this processor. */
const nv_simd *nv_best_simd(void);
/* The build for a transform of `points` points: the baseline if they do not fill four vectors of
 * the best build. */
const nv_simd *nv_simd_for(int points);
#endif
