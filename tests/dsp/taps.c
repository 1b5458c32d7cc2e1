/* taps FIRST LAST: adds drawn taps to drawn noise, some for each seed, and writes what they leave
 * and the sound to stdout: for sanitizers, and to compare processors. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "pulses.h"

enum { MOST = 200 };

static const int HALVES[] = {1, 2, 3, 5, 8, 15, 80, 125, 480};
static uint64_t state;

static uint32_t draw(uint32_t below) { /* xorshift (Marsaglia 2003) */
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

static float number(void) { return (float)draw(1 << 20) / (1 << 19) - 1; }

static float *numbers(int count, float most) {
    float *x = malloc(((size_t)count + 1) * sizeof *x);
    if (!x) abort();
    for (int i = 0; i < count; i++) x[i] = most * number();
    return x;
}

static float *rising(int count, float step) {
    float *x = numbers(count, 0), at = 0;
    for (int i = 0; i < count; i++) x[i] = at += step * (0.01f + fabsf(number()));
    return x;
}

static void room(void) {
    int frames = 2 + (int)draw(60), bands = 2 + (int)draw(20), count = 1 + (int)draw(11);
    int half = HALVES[draw(sizeof HALVES / sizeof *HALVES)], samples = 1 + (int)draw(3000);
    nv_pulses p = {.bands = bands, .frames = frames, .rate_hz = 8000, .heard = bands};
    p.heard -= (int)draw((uint32_t)bands), p.size = 2 * half, p.window_frames = (int)draw(9);
    float *arrays[] = {rising(frames, 0.01f),     rising(frames, 0.001f), numbers(bands, 4),
                       numbers(bands, 1),         numbers(half + 1, 1),   numbers(bands, 30),
                       numbers(half, 1),          rising(8, 0.1f),        rising(count, 0.1f),
                       numbers(count, 4),         numbers(count, 1),      numbers(count, 7),
                       numbers(bands * frames, 60), numbers(bands * frames, 0),
                       numbers(bands * count, 0), numbers(2 * samples, 1)};
    int32_t *node = malloc(((size_t)half + 1) * sizeof *node);
    if (!node) abort();
    for (int k = 0; k <= half; k++) {
        node[k] = (int32_t)draw((uint32_t)bands - 1);
        arrays[4][k] = fabsf(arrays[4][k]);
    }
    for (int b = 0; b < bands; b++) arrays[3][b] = fabsf(arrays[3][b]);
    p.centre_s = arrays[0], p.frame_s = arrays[1], p.octave = arrays[2], p.reflected = arrays[3];
    p.share = arrays[4], p.density_db = arrays[5], p.fade = arrays[6], p.window = arrays[7];
    p.node = node;
    nv_taps taps = {count, arrays[8], arrays[9], arrays[10], arrays[11]};
    float *left = arrays[13], *energy = arrays[14], *sound = arrays[15];
    if (nv_split_taps(&p, &taps, arrays[12], left, energy)) abort();
    if (nv_add_taps(&p, &taps, left, energy, 2 * number(), sound, sound + samples, samples))
        abort();
    fwrite(left, sizeof *left, (size_t)(bands * frames), stdout);
    fwrite(sound, sizeof *sound, 2 * (size_t)samples, stdout);
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free(arrays[i]);
    free(node);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    for (long seed = atol(argv[1]); seed <= atol(argv[2]); seed++) {
        state = 88172645463325252u + (uint64_t)seed * 7919;
        for (int i = 0; i < 8; i++) draw(2);
        room();
    }
    return 0;
}
