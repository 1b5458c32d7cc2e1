/* Runs the late field for an instruction counter, as count.c does the kernel. Arguments, as
 * key=value: block, blocks (to measure), hold (1: it holds; else a long room plays), movement and
 * shimmer (in %). */
#include "common.h"
#include "latefield.h"
#include "movement.h"

DEFINE_MARK

int main(int argc, char **argv) {
    (void)argc;
    int block = argument(argv, "block", 64), blocks = argument(argv, "blocks", 64),
        hold = argument(argv, "hold", 0), movement = argument(argv, "movement", 0),
        shimmer = argument(argv, "shimmer", 0);
    nv_latefield *l = nv_latefield_new(48000, block, 288000);
    nv_late_room room = {.goes_on = 1, .middle = 0.7f, .side = 0.7f};
    for (int k = 0; k <= NV_LATE_LEVELS; k++) room.level[k] = 0.1f;
    for (int k = 0; k <= NV_LATE_FALLS; k++)
        for (int i = 0; i < NV_LATE_LINES; i++) room.fall[k][i] = 0.19f;
    nv_latefield_room(l, &room, 720, NV_TAILS_KEEP);
    if (hold) nv_latefield_hold(l, 1, 0);
    nv_latefield_move(l, movement / 100.0, 0.3);
    nv_latefield_shimmer(l, shimmer / 100.0, 1);
    nv_movement moved;
    if (!nv_movement_init(&moved, 48000, block)) return 1;
    nv_movement_set(&moved, movement / 100.0, 0.3);
    float *frames = make_ir(4 * block);
    const float *in[2] = {frames, frames + block};
    float *wet[2] = {frames + 2 * block, frames + 3 * block};
    for (int i = 0; i < 8 * 48000 / block + blocks; i++) {
        if (i >= 8 * 48000 / block) mark();
        nv_latefield_process(l, in, 2, wet);
        nv_movement_run(&moved, wet);
        for (int c = 0; c < 2; c++) memset(wet[c], 0, (size_t)block * sizeof(float));
    }
    mark();
    printf("%zu\n", nv_latefield_bytes(l));
    nv_latefield_free(l);
    nv_movement_free(&moved);
    return 0;
}
