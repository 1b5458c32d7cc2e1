#include "kernel_fft.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"

void *nv_allocate(size_t bytes, size_t *total) {
    bytes = (bytes + 63) / 64 * 64;
    void *memory = aligned_alloc(64, bytes);
    if (memory) memset(memory, 0, bytes);
    if (total) *total += bytes;
    return memory;
}

void nv_fft_free(nv_fft *fft) {
    for (int i = 0; i < fft->passes; i++) free(fft->pass[i].roots);
    free(fft->group_roots);
    *fft = (nv_fft){0};
}

static void put_root(float *to, int stride, double angle) {
    to[0] = (float)cos(angle), to[stride] = (float)sin(angle);
}

/* The roots within four vectors of nodes x^lanes = exp(i angle), for each lane. Four lanes: r^2 and
 * r of the nodes. Eight lanes: r of two nodes each, in halves; then r^2 and r of their children x^4
 * = +-r, in the order in which transpose_complex() leaves them: A+ A- C+ C- B+ B- D+ D-. */
static void put_lane_roots(float *to, const double *angle, int lanes) {
    for (int lane = 0; lane < lanes; lane++, to++) {
        double own = angle[lane % 4];
        float *last = to;
        if (lanes == 8) {
            put_root(to, lanes, angle[lane / 4] / 2),
                put_root(to + 2 * lanes, lanes, angle[2 + lane / 4] / 2);
            own = angle[lane % 4 / 2 * 2 + lane / 4] / 2 + lane % 2 * M_PI;
            last += 4 * lanes;
        }
        put_root(last, lanes, own / 2), put_root(last + 2 * lanes, lanes, own / 4);
    }
}

/* The tree of roots in kernel_simd.c. A node stands for x^S = exp(i angle), at first x^P = i; its
 * children, numbered consecutively, for x^(S/n) = exp(i (angle + 2 pi k) / n), k = 0 .. n - 1. */
int nv_fft_init(nv_fft *fft, int points, int lanes, size_t *total) {
    int doublings = nv_doublings(points, lanes), nodes = 1, span = points,
        group = 8 + 2 * lanes * (lanes == 8 ? 4 : 2);
    *fft = (nv_fft){.points = points, .last = doublings > 2};
    double *angle = malloc((size_t)(points / lanes) * sizeof *angle);
    fft->group_roots = nv_allocate((size_t)(points / lanes / 4 * group) * sizeof(float), total);
    int ok = angle && fft->group_roots;
    if (ok) angle[0] = M_PI / 2;
    while (ok && doublings > 0) {
        int radix = doublings % 2 ? 2 : 4, powers = radix - 1, stride = 2 * powers;
        float *roots = fft->group_roots;
        if (doublings == 2 && fft->last) {
            stride = group;
        } else {
            int at = fft->passes++;
            roots = nv_allocate((size_t)(nodes * stride) * sizeof(float), total);
            fft->pass[at].span = span, fft->pass[at].radix = radix, fft->pass[at].roots = roots;
            if (!(ok = roots != NULL)) break;
        }
        for (int n = nodes - 1; n >= 0; n--) { /* from the last: children overwrite their parents */
            double own = angle[n];
            for (int k = 1; k <= powers; k++)
                put_root(roots + n * stride + 2 * (k - 1), 1, own * k / radix);
            for (int k = 0; k < radix; k++) angle[n * radix + k] = (own + 2 * M_PI * k) / radix;
        }
        nodes *= radix, span /= radix, doublings -= radix / 2;
    }
    for (int n = 0; ok && n < nodes; n += 4)
        put_lane_roots(fft->group_roots + n / 4 * group + 8, angle + n, lanes);
    free(angle);
    return ok ? NV_OK : NV_E_MEMORY;
}

void nv_fft_transform(const nv_simd *simd, const nv_fft *fft, const float *frames, float *z,
                      const nv_target *target) {
    int vectors = fft->points / simd->lanes;
    simd->forward_first(fft, frames, z, 0, vectors / fft->pass[0].radix);
    for (int pass = 1; pass < fft->passes; pass++)
        simd->forward(fft, pass, z, 0, vectors / fft->pass[pass].radix);
    simd->to_spectrum(fft, z, target, 0, vectors / 4);
}
