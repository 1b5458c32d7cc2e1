/* Arithmetic with denormals can take a hundred times as long on some processors; below 1e-38 they
 * are inaudible. */
#ifndef NV_DENORMALS_H
#define NV_DENORMALS_H
#include <stdint.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

/* Makes this thread treat denormals as 0, as operands and as results (FTZ and DAZ; FZ on ARM;
 * ARMv7's NEON always does). Returns the previous mode, for nv_restore_denormals(). */
static inline uint64_t nv_flush_denormals(void) {
#if defined(__SSE2__)
    uint32_t before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
#elif defined(__aarch64__)
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | (1u << 24)));
    return before;
#elif defined(__arm__) && defined(__ARM_FP)
    uint32_t before;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(before));
    __asm__ volatile("vmsr fpscr, %0" : : "r"(before | (1u << 24)));
    return before;
#else
    return 0;
#endif
}

static inline void nv_restore_denormals(uint64_t before) {
#if defined(__SSE2__)
    _mm_setcsr((uint32_t)before);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
#elif defined(__arm__) && defined(__ARM_FP)
    __asm__ volatile("vmsr fpscr, %0" : : "r"((uint32_t)before));
#else
    (void)before;
#endif
}
#endif
