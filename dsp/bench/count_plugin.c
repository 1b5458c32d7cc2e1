/* A qemu plugin that counts a program's instructions: -plugin count_plugin.so,mark=ADDRESS writes
 * "mark N" to stderr each time the instruction at ADDRESS is reached, N being the instructions of
 * all threads since the last time.
 *
 * qemu's header is not packaged everywhere, so the eight functions of its plugin API (version 1,
 * qemu 4.2 to 8) that are used are declared here.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
typedef uint64_t plugin_id;
typedef struct block block;
typedef struct instruction instruction;
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, block *));
void qemu_plugin_register_vcpu_tb_exec_cb(block *, void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_vcpu_insn_exec_cb(instruction *, void (*)(unsigned, void *), int, void *);
size_t qemu_plugin_tb_n_insns(const block *);
instruction *qemu_plugin_tb_get_insn(const block *, size_t);
uint64_t qemu_plugin_insn_vaddr(const instruction *);
EXPORT int qemu_plugin_version = 1;

enum { THREADS = 64 };
static struct {
    uint64_t n, own_cache_line[7];
} counted[THREADS]; /* each thread its own: the peers have several */
static uint64_t mark_address, last;

static void block_runs(unsigned thread, void *instructions) {
    counted[thread % THREADS].n += (uintptr_t)instructions;
}

static void mark_runs(unsigned thread, void *nothing) {
    (void)thread, (void)nothing;
    uint64_t sum = 0;
    for (int i = 0; i < THREADS; i++) sum += counted[i].n;
    fprintf(stderr, "mark %" PRIu64 "\n", sum - last);
    last = sum;
}

static void block_is_translated(plugin_id id, block *b) {
    (void)id;
    size_t n = qemu_plugin_tb_n_insns(b);
    qemu_plugin_register_vcpu_tb_exec_cb(b, block_runs, 0, (void *)n);
    for (size_t i = 0; i < n; i++) {
        instruction *in = qemu_plugin_tb_get_insn(b, i);
        if (qemu_plugin_insn_vaddr(in) == mark_address)
            qemu_plugin_register_vcpu_insn_exec_cb(in, mark_runs, 0, NULL);
    }
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info;
    if (argc != 1 || strncmp(argv[0], "mark=", 5)) return -1;
    mark_address = strtoull(argv[0] + 5, NULL, 0);
    qemu_plugin_register_vcpu_tb_trans_cb(id, block_is_translated);
    return 0;
}
