/* Measures the time of each block, one after the other or paced; for time.c and zita.cpp. */
#ifndef NV_BENCH_TIMING_H
#define NV_BENCH_TIMING_H
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct {
    long at, blocks;
    double period, start, cpu, *taken, began;
} timing;

static double seconds_of(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* period 0: not paced. */
static timing timing_begin(long blocks, double period) {
    timing t = {};
    t.at = -1, t.blocks = blocks, t.period = period,
    t.taken = (double *)malloc((size_t)blocks * sizeof(double));
    t.start = seconds_of(CLOCK_MONOTONIC), t.cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    return t;
}

/* Ends a block and begins the next; 0 when all are done. */
static int timing_next(timing *t) {
    if (t->at >= 0) t->taken[t->at] = seconds_of(CLOCK_MONOTONIC) - t->began;
    if (++t->at == t->blocks) return 0;
    double wait = t->start + (double)t->at * t->period - seconds_of(CLOCK_MONOTONIC);
    if (t->period > 0 && wait > 0) {
        struct timespec s = {(time_t)wait, (long)(1e9 * (wait - (double)(time_t)wait))};
        nanosleep(&s, NULL);
    }
    t->began = seconds_of(CLOCK_MONOTONIC);
    return 1;
}

static int timing_order(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void timing_print(timing *t) {
    double cpu = (seconds_of(CLOCK_PROCESS_CPUTIME_ID) - t->cpu) / (double)t->blocks;
    qsort(t->taken, (size_t)t->blocks, sizeof(double), timing_order);
    printf("%.3f %.3f %.3f %.3f\n", 1e6 * t->taken[t->blocks / 2],
           1e6 * t->taken[t->blocks * 999 / 1000], 1e6 * t->taken[t->blocks - 1], 1e6 * cpu);
}
#endif
