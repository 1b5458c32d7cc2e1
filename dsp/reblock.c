#include "reblock.h"

#include <stdlib.h>
#include <string.h>

enum { LINES = 2 * NV_OUTPUTS }; /* wet, then dry */

struct nv_reblock {
    int host, block, inputs;
    int filled;            /* frames of the next engine block */
    unsigned write, read;  /* frames since the start; their difference is what waits */
    unsigned mask;         /* of the lines */
    float *in[NV_OUTPUTS]; /* the next engine block */
    float *out[LINES];     /* an engine block */
    float *line[LINES];    /* what waits for the host */
};

static int largest_power_of_two_in(int n) { return n & -n; }

int nv_reblock_frames(int host_frames) {
    if (host_frames < NV_MIN_HOST_FRAMES || host_frames > NV_MAX_HOST_FRAMES) return 0;
    int block = largest_power_of_two_in(host_frames);
    return block < NV_MIN_BLOCK ? NV_MIN_BLOCK : block > NV_MAX_BLOCK ? NV_MAX_BLOCK : block;
}

int nv_reblock_delay(int host_frames) {
    int common = largest_power_of_two_in(host_frames);
    return common < NV_MIN_BLOCK ? NV_MIN_BLOCK - common : 0;
}

nv_reblock *nv_reblock_new(int host_frames, int inputs) {
    nv_reblock *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->host = host_frames, r->inputs = inputs, r->block = nv_reblock_frames(host_frames);
    r->write = (unsigned)nv_reblock_delay(host_frames);
    unsigned line = 1;
    while (line < (unsigned)(r->host + r->block)) line *= 2;
    r->mask = line - 1;
    for (int c = 0; c < NV_OUTPUTS; c++)
        if (!(r->in[c] = calloc((size_t)r->block, sizeof(float)))) return nv_reblock_free(r), NULL;
    for (int c = 0; c < LINES; c++) {
        r->out[c] = calloc((size_t)r->block, sizeof(float));
        r->line[c] = calloc(line, sizeof(float));
        if (!r->out[c] || !r->line[c]) return nv_reblock_free(r), NULL;
    }
    return r;
}

void nv_reblock_free(nv_reblock *r) {
    if (!r) return;
    for (int c = 0; c < NV_OUTPUTS; c++) free(r->in[c]);
    for (int c = 0; c < LINES; c++) free(r->out[c]), free(r->line[c]);
    free(r);
}

static void play_block(nv_reblock *r, nv_reblock_process *process, void *engine) {
    const float *in[NV_OUTPUTS] = {r->in[0], r->in[1]};
    process(engine, in, r->out, r->out + NV_OUTPUTS);
    for (int c = 0; c < LINES; c++)
        for (int i = 0; i < r->block; i++)
            r->line[c][(r->write + (unsigned)i) & r->mask] = r->out[c][i];
    r->write += (unsigned)r->block;
    r->filled = 0;
}

void nv_reblock_run(nv_reblock *r, const float *const *in, float *const *wet, float *const *dry,
                    nv_reblock_process *process, void *engine) {
    for (int at = 0; at < r->host;) {
        int left = r->host - at, space = r->block - r->filled, n = left < space ? left : space;
        for (int c = 0; c < r->inputs; c++)
            memcpy(r->in[c] + r->filled, in[c] + at, (size_t)n * sizeof(float));
        r->filled += n, at += n;
        if (r->filled == r->block) play_block(r, process, engine);
    }
    for (int c = 0; c < LINES; c++) {
        float *out = c < NV_OUTPUTS ? wet[c] : dry[c - NV_OUTPUTS];
        for (int i = 0; i < r->host; i++) out[i] = r->line[c][(r->read + (unsigned)i) & r->mask];
    }
    r->read += (unsigned)r->host;
}
