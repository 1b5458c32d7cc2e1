#include "kernel_build.h"

#include "kernel.h"

#if defined(__arm__) && defined(__linux__)
#include <sys/auxv.h>
enum { HWCAP_NEON_BIT = 1 << 12 };
#endif

const nv_simd *nv_best_simd(void) {
#if defined(__x86_64__) && !defined(NV_BASELINE_ONLY)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &nv_simd_avx2;
#elif defined(__arm__) && !defined(NV_BASELINE_ONLY)
    if (getauxval(AT_HWCAP) & HWCAP_NEON_BIT) return &nv_simd_neon;
#endif
    return &nv_simd_baseline;
}

const char *nv_kernel_simd(void) { return nv_best_simd()->name; }

const nv_simd *nv_simd_for(int points) {
    const nv_simd *best = nv_best_simd();
    return points >= 4 * best->lanes ? best : &nv_simd_baseline;
}
