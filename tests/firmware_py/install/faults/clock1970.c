/* Sets the clock of a process to 1970-01-01 01:00, as on a board without network or battery.
 *
 *   cc -shared -fPIC -O1 -o clock1970.so clock1970.c ;  LD_PRELOAD=clock1970.so nverb install ...
 *
 * Replaces functions of the C library. The kernel's times of files stay: the tests set those.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NOW 3600

int clock_gettime(clockid_t clock, struct timespec *at)
{
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        return at->tv_sec = NOW, at->tv_nsec = 0, 0;
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
