/* Shared by the bench programs: noise, key=value arguments, and mark(), between whose calls
 * instructions are counted. */
#ifndef NV_BENCH_COMMON_H
#define NV_BENCH_COMMON_H
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RATE_HZ = 48000 };

static inline float noise(void) {
    static unsigned state = 12345;
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / 8388608.0f - 1.0f;
}

/* A decaying IR, -60 dB at its end. */
static inline float *make_ir(int taps) {
    float *h = (float *)malloc((size_t)taps * sizeof *h);
    for (int i = 0; i < taps; i++) h[i] = 0.02f * noise() * expf(-6.9f * (float)i / (float)taps);
    return h;
}

/* NULL if it is missing. */
static inline const char *text_argument(char **argv, const char *key) {
    size_t n = strlen(key);
    for (char **a = argv + 1; *a; a++)
        if (!strncmp(*a, key, n) && (*a)[n] == '=') return *a + n + 1;
    return NULL;
}

static inline int argument(char **argv, const char *key, int otherwise) {
    const char *text = text_argument(argv, key);
    return text ? atoi(text) : otherwise;
}

#ifdef __cplusplus
extern "C"
#endif
    __attribute__((noinline)) void mark(void);
#define DEFINE_MARK                                                                                \
    void mark(void) { __asm__ volatile(""); }
#endif
