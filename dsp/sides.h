/* Which input feeds which side, and the mono sum of the outputs.
 *
 * A guitar is one input; a card often has two. With `automatic` inputs the one that has sound feeds
 * both sides while the other one is silent:
 *
 *   heard            a side has been louder than all of: NV_SIDES_SILENT_DB; its own steady noise
 *                    by NV_SIDES_NOISE_MARGIN_DB (the hum of an open input is no sound); the other
 *                    side less NV_SIDES_CROSSTALK_DB (a card's crosstalk is no sound)
 *   both heard       each input feeds its own side, from the first block of the second sound on,
 *                    however silent a side becomes later
 *   only one heard   it feeds both sides, NV_SIDES_HOLD_MS after its first sound
 *   none heard       nothing changes
 *   both silent for NV_SIDES_FORGET_S: none heard, so a cable may move to the other input
 *
 * The inputs are two sources, for which a room in true stereo is made, if both were heard and are
 * not the same samples (a card with one input feeds both). Without `automatic` one heard input is
 * enough: in a room it is heard on the other side, too. While none is heard nothing changes.
 *
 * Each change of a weight is the step response of two equal low-passes: no click, also if it turns
 * back half-way. It is within 0.1 dB after NV_SIDES_RAMP_MS.
 *
 * The steady noise is the lowest peak of windows of NV_SIDES_WINDOW_MS. It falls at once and rises
 * by NV_SIDES_RISE_DB a second, up to NV_SIDES_NOISE_DB: what is always louder than that is music.
 * After nv_sides_learn(), when the inputs have been connected, it is measured for
 * NV_SIDES_LEARN_MS. Until then no input feeds the other side, and only what is louder than
 * NV_SIDES_NOISE_DB + NV_SIDES_NOISE_MARGIN_DB is heard.
 *
 * All calls but nv_sides_init() are made by the audio thread: no allocation, bounded work.
 */
#ifndef NV_SIDES_H
#define NV_SIDES_H
#include "kernel.h"

enum {
    NV_SIDES_SILENT_DB = -70,
    NV_SIDES_NOISE_DB = -50,
    NV_SIDES_NOISE_MARGIN_DB = 12,
    NV_SIDES_CROSSTALK_DB = 54,
    NV_SIDES_RISE_DB = 1,
    NV_SIDES_WINDOW_MS = 10,
    NV_SIDES_LEARN_MS = 500,
    NV_SIDES_HOLD_MS = 10,
    NV_SIDES_RAMP_MS = 20,
    NV_SIDES_FORGET_S = 30
};

/* The meter `input_feed`. */
enum { NV_FEED_OWN, NV_FEED_FIRST, NV_FEED_SECOND };

typedef struct {
    double value, target, slope, rate; /* rate: of its two low-passes, 1 / frames */
} nv_weight;

typedef struct {
    float peak;   /* of the block */
    float level;  /* of the last milliseconds, for the comparison with crosstalk */
    float window; /* peak of the window so far */
    float noise;  /* the steady noise */
    int heard;
    nv_weight other; /* share of the other input: 0 or 1 */
} nv_side;

typedef struct {
    nv_side side[NV_OUTPUTS];
    double rate_hz;
    float silent, noisiest, margin, crosstalk; /* the constants above as amplitudes and factors */
    float level_fall, noise_rise;              /* factors of a frame and of a window */
    int window_left;                           /* frames */
    int64_t learn_frames, alone_frames, silent_frames; /* in which noise is learnt; since one
                                                         * alone is heard; both are silent */
    int feed;                                          /* NV_FEED_... */
    int differ;      /* what was heard was not the same on both inputs */
    int two_sources; /* the meter */
    nv_weight mono;                                    /* 1: both outputs are the mean of both */
} nv_sides;

void nv_sides_init(nv_sides *s, double rate_hz);
/* Measures the noise of both inputs and decides again: they have just been connected. */
void nv_sides_learn(nv_sides *s);
/* Changes the guarded inputs x in place. `automatic` 0: each input feeds its own side. Returns
 * NV_FEED_... */
int nv_sides_in(nv_sides *s, float *const *x, int frames, int automatic);
/* Changes the outputs x in place. `mono`: both become the mean of both. */
void nv_sides_out(nv_sides *s, float *const *x, int frames, int mono);
#endif
