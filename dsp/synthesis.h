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
    const float *carrier; /* [size][4]: middle re, im, side re, im */
    const float *window;
    const int32_t *node; /* the curve's node before each sample, >= 0; it may be beyond the curve */
    const float *share;  /* how far each sample lies between that node and the next */
} nv_band;

typedef struct nv_synthesis {
    int frames, bands; /* an even number of samples; frames / 2 has the factors 2, 3 and 5 only */
    const nv_band *band;
} nv_synthesis;

/* What a curve is below this share of the loudest node of all curves is left out: -130 dB. */
#define NV_UNHEARD 3.1622777e-7f

/* 1 if a number has the factors 2, 3 and 5 only. */
int nv_is_smooth(int number);

/* curves: [rows][nodes]. middle, side: gains of the bins 0 .. frames / 2. left, right: the first
 * `taps` samples. 0, or -1 without memory. */
int nv_synthesise(const nv_synthesis *s, const float *curves, int rows, int nodes,
                  const float *middle, const float *side, float *left, float *right, int taps);
#endif
