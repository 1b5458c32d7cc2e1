/* What the audio process's main thread does while sound plays: wait, and see to it that blocks come. Without the GIL.
 *
 * pyo takes the GIL for every block. A main thread that holds it, however shortly, and is put aside by the scheduler meanwhile (it has
 * no real-time priority, or a lower one) holds up the audio thread for as long as the load pleases: a priority inversion. So it holds
 * the GIL only when something has happened already.
 */
#ifndef NV_WATCHDOG_H
#define NV_WATCHDOG_H
#include <signal.h>

#include "port.h"

typedef struct nv_watchdog {
    sigset_t signals; /* blocked in all threads; to be waited for */
    double seconds;   /* the longest that it waits */
    const char *
        keeper; /* address of a notify socket, sd_notify(3), "@..." in the abstract name space; NULL: none to tell */
    double ping_s; /* WATCHDOG=1 goes there so often; 0: never */
} nv_watchdog;

/* Waits while blocks come at their pace, feeding the keeper's watchdog. Returns the number of a signal that came, or 0: the time is
 * up, or blocks stopped or came at another pace than the port's (JACK changed its block size, stands still or is overloaded). At each
 * look, every 0.1 s or 16 blocks, the port holds what a room that waits needs. */
int nv_watchdog_wait(const nv_watchdog *w, nv_port *port);

/* A JackBufferSizeCallback (jack/types.h). block_frames: as a number, the size that this process can play. At another one it says so and
 * ends the process with EX_TEMPFAIL (75), before JACK plays a block of that size. In a thread of JACK's library. */
int nv_watchdog_block_size(uint32_t frames, void *block_frames);

#endif
