/* The first of January 1970, one in the morning, for whoever is started with this preloaded: a board before it has heard of the time.
 *
 *   cc -shared -fPIC -O1 -o clock1970.so clock1970.c ;  LD_PRELOAD=clock1970.so nverb install ...
 *
 * Covers what programs ask the C library for. Not what the kernel writes into files: the tests set those times themselves.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NOW 3600

int clock_gettime(clockid_t clock, struct timespec *at)
{
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) return at->tv_sec = NOW, at->tv_nsec = 0, 0;
    return syscall(SYS_clock_gettime, clock, at);
}

time_t time(time_t *at)
{
    if (at) *at = NOW;
    return NOW;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    (void)zone;
    return at->tv_sec = NOW, at->tv_usec = 0, 0;
}
