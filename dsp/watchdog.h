/* The audio process's main thread while sound plays: waits and watches that blocks keep arriving.
 * Without the GIL.
 *
 * pyo takes the GIL for every block. If the scheduler preempts the main thread (which has a lower
 * priority or none) while it has the GIL, the audio thread waits for an unbounded time: a priority
 * inversion. So the main thread takes the GIL only when something has happened.
 */
#ifndef NV_WATCHDOG_H
#define NV_WATCHDOG_H
#include <signal.h>

#include "port.h"

typedef struct nv_watchdog {
    sigset_t signals; /* to wait for; blocked in all threads */
    double seconds;   /* the longest wait */
    const char
        *notify;   /* address of the notify socket, sd_notify(3); "@...": abstract; NULL: none */
    double ping_s; /* interval of the WATCHDOG=1 messages; 0: none */
} nv_watchdog;

/* Waits while blocks arrive at the port's rate, and sends WATCHDOG=1. Returns the number of a
 * received signal, or 0: the time is up, JACK has new ports, or blocks stopped or arrived at
 * another rate (JACK changed its block size, hangs or is overloaded). At each check, every 0.1 s or
 * 16 blocks, calls nv_port_lock_more_memory(). */
int nv_watchdog_wait(const nv_watchdog *w, nv_port *port);

/* A JackBufferSizeCallback (jack/types.h). At another size than nv_watchdog_keep_block_size() says
 * it prints a message and exits with EX_TEMPFAIL (75), before JACK plays a block of that size.
 * Called in a thread of JACK's library. */
int nv_watchdog_block_size(uint32_t frames, void *ignored);

/* The block size of this process; until it is set, every size is ignored. */
void nv_watchdog_keep_block_size(uint32_t frames);

enum { NV_WATCHDOG_NOTE_BYTES = 128 };

/* What nv_watchdog_block_size() writes before it exits: `text` replaces the content of the file
 * `descriptor`. So the next start knows that this exit is no crash. length: 0: nothing, at most
 * NV_WATCHDOG_NOTE_BYTES. Call it before the callback is set. */
void nv_watchdog_note(int descriptor, const char *text, size_t length);

/* A JackPortRegistrationCallback (jack/types.h): nv_watchdog_wait() returns, and
 * nv_watchdog_take_port() returns 1 once. Called in a thread of JACK's library, which may not
 * connect ports itself. */
void nv_watchdog_port(uint32_t port, int registered, void *ignored);
int nv_watchdog_take_port(void);

/* A JackProcessCallback that calls a callback of Python, `process`, without an argument. The thread
 * is not cancelled during the call. libjack ends a client's thread with pthread_cancel; if that
 * comes while the thread waits for the GIL, the GIL's lock is never released and Python hangs. */
int nv_watchdog_whole_block(uint32_t frames, void *process);

/* A JackXRunCallback that adds 1 to an int, `count`. libjack cancels its thread, too, when a client
 * is closed: a callback of Python would hang in the same way. */
int nv_watchdog_count(void *count);

#endif
