/* Two threads on one port, the control and the audio side, at full speed. test_port.py compiles it
 * with ThreadSanitizer.
 *
 * The control side fills a slot with one value and publishes it; sometimes it cancels, or restarts
 * as after a crash. Audio takes the newest, checks that it is complete and newer than the last,
 * keeps as many as the kernel may read, and frees the oldest. Exit status 0: no IR was torn or out
 * of order.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "port.h"

enum { WORDS = 1024, ROUNDS = 30000 };

static nv_port *port;
static _Atomic int done, failures;

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    atomic_fetch_add(&failures, 1);
}

static void *steer(void *unused) {
    (void)unused;
    float params[NV_PARAMS];
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        int slot = nv_port_begin_ir(port);
        if (slot < 0) {
            fail("no free slot");
            break;
        }
        uint32_t *words = nv_port_spectra(port, slot);
        for (int i = 0; i < WORDS; i++) words[i] = round;
        if (round % 97 == 0)
            nv_port_cancel_ir(port, slot);
        else if (round % 89 == 0)
            nv_port_recover_control(port); /* as after a crash while writing */
        else
            nv_port_publish_ir(port, slot, 2, WORDS * sizeof(uint32_t), round);
        for (int i = 0; i < NV_PARAMS; i++) params[i] = (float)round;
        nv_port_set_params(port, params);
    }
    atomic_store(&done, 1);
    return NULL;
}

static void *play(void *unused) {
    (void)unused;
    int reading[NV_MAX_ROOMS], rooms = 0;
    uint64_t last = 0, taken = 0;
    float params[NV_PARAMS], newest = 0;
    while (!atomic_load(&done) || !taken) {
        if (nv_port_get_params(port, params)) {
            for (int i = 1; i < NV_PARAMS; i++)
                if (params[i] != params[0]) fail("a set of parameters was torn");
            if (params[0] < newest) fail("parameters went back in time");
            newest = params[0];
        }
        int slot = nv_port_take_ir(port, last);
        if (slot < 0) continue;
        taken++;
        uint64_t serial = atomic_load_explicit(&port->slot[slot].serial, memory_order_relaxed);
        if (serial <= last) fail("an older IR was taken");
        last = serial;
        const uint32_t *words = nv_port_spectra(port, slot);
        for (int i = 0; i < WORDS; i++)
            if (words[i] != words[0] || words[0] != port->slot[slot].room) {
                fail("an IR was torn");
                break;
            }
        nv_port_set_slot(port, slot, NV_SLOT_PLAYING);
        reading[rooms++] = slot;
        if (rooms < NV_MAX_ROOMS) continue;
        words = nv_port_spectra(port, reading[0]);
        for (int i = 1; i < WORDS; i++)
            if (words[i] != words[0]) fail("an IR that is read was overwritten");
        nv_port_set_slot(port, reading[0], NV_SLOT_FREE);
        memmove(reading, reading + 1, (size_t)--rooms * sizeof *reading);
    }
    printf("%llu of %d IRs taken\n", (unsigned long long)taken, ROUNDS);
    return NULL;
}

int main(void) {
    nv_layout layout;
    if (nv_layout_plan(&layout, 64, 4096, 2)) return 2;
    size_t bytes = nv_port_bytes(&layout, 2);
    void *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    memset(memory, 0, bytes);
    if (nv_port_create(memory, bytes, &layout, 2, 48000) || nv_port_check(memory, bytes)) return 2;
    port = memory;
    nv_port_set_params(port, (float[NV_PARAMS]){0}); /* equal values, as steer() writes them */
    pthread_t threads[2];
    pthread_create(&threads[0], NULL, play, NULL);
    pthread_create(&threads[1], NULL, steer, NULL);
    pthread_join(threads[1], NULL);
    pthread_join(threads[0], NULL);
    free(memory);
    return atomic_load(&failures) != 0;
}
