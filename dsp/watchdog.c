#include "watchdog.h"

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

static const uint64_t CHECK_NS = 100000000;
enum {
    CHECK_BLOCKS = 16
}; /* at least, in a check: one more or less must not look like another rate */

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Not connected, addressed each time: the service manager may be restarted. Does not block. If the
 * watchdog misses this ping it kills the process; that is intended. */
static void ping(const char *path) {
    static const char WORD[] = "WATCHDOG=1";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length >= sizeof address.sun_path) return;
    memcpy(address.sun_path, path, length);
    if (*path == '@') address.sun_path[0] = '\0';
    int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return;
    sendto(descriptor, WORD, sizeof WORD - 1, MSG_DONTWAIT | MSG_NOSIGNAL,
           (struct sockaddr *)&address,
           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
    close(descriptor);
}

static struct {
    int descriptor;
    size_t length;
    char text[NV_WATCHDOG_NOTE_BYTES];
} note;

void nv_watchdog_note(int descriptor, const char *text, size_t length) {
    note.descriptor = descriptor;
    note.length = length < sizeof note.text ? length : sizeof note.text;
    memcpy(note.text, text, note.length);
}

static _Atomic uint32_t kept_frames; /* 0: any */

void nv_watchdog_keep_block_size(uint32_t frames) { atomic_store(&kept_frames, frames); }

int nv_watchdog_block_size(uint32_t frames, void *ignored_argument) {
    (void)ignored_argument;
    uint32_t kept = atomic_load(&kept_frames);
    if (!kept || frames == kept) return 0;
    char line[80];
    int length =
        snprintf(line, sizeof line, "nverb audio: JACK changed its block size to %u frames\n",
                 (unsigned)frames);
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)length);
    if (note.length && pwrite(note.descriptor, note.text, note.length, 0) > 0)
        ignored = ftruncate(note.descriptor, (off_t)note.length);
    (void)ignored;
    _exit(EX_TEMPFAIL); /* not exit(): other threads still run */
}

static _Atomic int port_news;

void nv_watchdog_port(uint32_t port, int registered, void *ignored) {
    (void)port, (void)registered, (void)ignored;
    atomic_store(&port_news, 1);
}

int nv_watchdog_take_port(void) { return atomic_exchange(&port_news, 0); }

int nv_watchdog_whole_block(uint32_t frames, void *process) {
    int (*play)(uint32_t, void *), before;
    memcpy(&play, &process, sizeof play);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    int result = play(frames, NULL);
    pthread_setcancelstate(before, NULL);
    return result;
}

int nv_watchdog_count(void *count) {
    atomic_fetch_add((atomic_int *)count, 1);
    return 0;
}

int nv_watchdog_wait(const nv_watchdog *w, nv_port *port) {
    uint64_t period_ns = 1000000000u * (uint64_t)port->host_frames / port->rate_hz;
    uint64_t check_ns = CHECK_BLOCKS * period_ns > CHECK_NS ? CHECK_BLOCKS * period_ns : CHECK_NS;
    uint64_t start = now_ns(), then = start, pinged = 0,
             played = atomic_load_explicit(&port->meters.blocks, memory_order_acquire);
    for (;;) {
        struct timespec wait = {.tv_sec = (time_t)(check_ns / 1000000000u),
                                .tv_nsec = (long)(check_ns % 1000000000u)};
        int number = sigtimedwait(&w->signals, NULL, &wait);
        if (number > 0) return number;
        uint64_t now = now_ns(),
                 blocks = atomic_load_explicit(&port->meters.blocks, memory_order_acquire);
        nv_port_lock_more_memory(port);
        uint64_t played_ns = (blocks - played) * period_ns, passed_ns = now - then;
        if (played_ns < passed_ns / 4 * 3 || played_ns > passed_ns / 3 * 4) return 0;
        then = now, played = blocks;
        if (w->notify && w->ping_s > 0 && 1e-9 * (now - pinged) >= w->ping_s)
            pinged = now, ping(w->notify);
        if (1e-9 * (now - start) >= w->seconds || atomic_load(&port_news)) return 0;
    }
}
