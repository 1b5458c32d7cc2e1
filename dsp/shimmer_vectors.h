/* The inner loop of shimmer.h. Included by kernel_simd.c, once for each instruction set. */
#ifndef NV_SHIMMER_VECTORS_H
#define NV_SHIMMER_VECTORS_H
#include "kernel_vectors.h"
#include "movement_vectors.h"

/* Both heads in their windows, and the rotation. */
static void shimmer_turn(const nv_shimmer_turn *m) {
    vec t = delayed_frame;
    for (int i = 0; i < m->frames; i += V, t += V) {
        vec z = all(m->head_gain[0]) * get_any(m->window[0] + i) * get_any(m->head[0] + i) +
                all(m->head_gain[1]) * get_any(m->window[1] + i) * get_any(m->head[1] + i);
        z *= all(m->keeps[0]) + all(m->keeps[1]) * t;
        vec cosine = all(m->cosine[0]) + all(m->cosine[1]) * t,
            sine = all(m->sine[0]) + all(m->sine[1]) * t,
            source = (all(m->gain[0]) + all(m->gain[1]) * t) * get_any(m->source + i),
            line = get_any(m->line + i);
        put_any(m->in + i, cosine * z + sine * (source - line));
        put_any(m->out + i, cosine * line + sine * z);
    }
}
#endif
