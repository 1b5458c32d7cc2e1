/* The synthesis of rooms: noise in bands, shaped by curves, joined to a stereo IR.
 *
 * dsp/synthesis.py explains it and makes the tables. Plain C11, float32. Not for the audio thread:
 * it allocates.
 */
#ifndef NV_SYNTHESIS_H
#define NV_SYNTHESIS_H
#include <stdint.h>

/* A band: `size` samples of its carrier are multiplied by a curve, transformed, multiplied by the
 * window, and added to the spectrum from bin `first` on. `size` has the factors 2, 3 and 5 only. */
typedef struct nv_band {
    int curve, first, size;
    const float *carrier; /* [size][4]: middle re, side re, middle im, side im */
    const float *window;
    const int32_t *node; /* the curve's node before each sample, >= 0; it may be beyond the curve */
    const float *share;  /* how far each sample lies between that node and the next */
} nv_band;

typedef struct nv_synthesis {
    int frames, bands; /* an even number of samples; frames / 2 has the factors 2, 3 and 5 only */
    const nv_band *band;
} nv_synthesis;

/* Levels of bands in frames. A curve has NV_NODES points in each frame, at equal distances. */
typedef struct nv_map {
    int bands, frames;
    const float *level_db; /* [bands][frames]; the 10 log10 of powers up to 1e37 */
} nv_map;
enum { NV_NODES = 4 };

/* Work memory, of as many points as the largest band or half of the frames has, and one more. */
typedef struct nv_synthesis_work {
    float *spectrum, *points[2]; /* [points][4] */
    float *gain, *lines; /* lines: two floats for each node */
} nv_synthesis_work;

/* What a curve is below this share of the loudest node of all curves is left out: -122 dB. */
#define NV_UNHEARD 7.943282e-7f

/* Corrections of a curve, and their largest sum: steep edges are not exact, do not oscillate. */
enum { NV_ROUNDS = 2 };
#define NV_MOST_OFF_DB 20.0f

/* curves: [bands][NV_NODES * frames] amplitudes that have the map's energy in each frame. They are
 * linear in dB, like decays, and corrected for the effect of the lines on a frame's mean. after,
 * share: for each node, the frame whose centre comes next, >= 1, and how far the node lies between
 * that before and it. 0, or -1 without memory. */
int nv_find_curves(const nv_map *map, const int32_t *after, const float *share, float *curves);

/* 1 if a number has the factors 2, 3 and 5 only. */
int nv_is_smooth(int number);

/* curves: [rows][nodes]. middle, side: gains of the bins 0 .. frames / 2. left, right: the first
 * `taps` samples. 0, or -1 without memory. */
int nv_synthesise(const nv_synthesis *s, const float *curves, int rows, int nodes,
                  const float *middle, const float *side, float *left, float *right, int taps);
#endif
