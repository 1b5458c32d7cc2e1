/* The transform of a frame, with kernel_simd.c: its tables of roots, and their memory. */
#ifndef NV_KERNEL_FFT_H
#define NV_KERNEL_FFT_H
#include <stddef.h>

#include "kernel_simd.h"

/* Zeroed memory aligned to 64 bytes, or NULL; adds its size to *total if that is not NULL. Free
 * with free(). */
void *nv_allocate(size_t bytes, size_t *total);

/* Doublings from `lanes` to `points`. The passes above the vectors have radix 4, after one of radix
 * 2 if the number is odd. */
static inline int nv_doublings(int points, int lanes) {
    int n = 0;
    while (points / lanes >> n > 1) n++;
    return n;
}

/* NV_OK or NV_E_MEMORY; nv_fft_free() is valid in either case. *total as for nv_allocate(). */
int nv_fft_init(nv_fft *fft, int points, int lanes, size_t *total);
void nv_fft_free(nv_fft *fft);
/* The complete forward transform of `points` real frames. z: work space of 2 * points floats. */
void nv_fft_transform(const nv_simd *simd, const nv_fft *fft, const float *frames, float *z,
                      const nv_target *target);
#endif
