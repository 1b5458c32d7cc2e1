/* What the late field (latefield.h) hands to its inner loops, which are in latefield_vectors.h. */
#ifndef NV_LATEFIELD_LINES_H
#define NV_LATEFIELD_LINES_H

enum {
    NV_LATE_LINES = 16,
    NV_LATE_FALLS = 4,  /* one-poles that make a line fall */
    NV_LATE_LEVELS = 8, /* one-poles at the input of each side */
    NV_LATE_PASSES = 4, /* all-passes at the input of each side */
    NV_LATE_STEP = 64   /* frames at a time, at most; a multiple of 16 */
};

/* Filters are one-poles side by side: s[k] = pole[k] s[k] + x, y = gain[0] x + sum of
 * gain[k + 1] s[k]. Poles stay as they are. In a glide gains move along a line: by `step` a frame,
 * the first frame included; what is here holds before the step. States know nothing of gains, so
 * that no glide disturbs them. */
typedef struct nv_late_lines {
    _Alignas(64) float fall_pole[NV_LATE_FALLS][NV_LATE_LINES]; /* the same for all lines */
    _Alignas(64) float fall[NV_LATE_FALLS + 1][NV_LATE_LINES];
    _Alignas(64) float fall_step[NV_LATE_FALLS + 1][NV_LATE_LINES];
    _Alignas(64) float fall_state[NV_LATE_FALLS][NV_LATE_LINES];
    _Alignas(64) float level_pole[NV_LATE_LEVELS];
    _Alignas(64) float level[NV_LATE_LEVELS + 1]; /* the gain of x itself is the last */
    _Alignas(64) float level_step[NV_LATE_LEVELS + 1];
    _Alignas(64) float level_state[2][NV_LATE_LEVELS];
    int fall_glides, level_glides;
    const float *from[NV_LATE_LINES]; /* what leaves each line */
    float *to[NV_LATE_LINES];         /* what enters it */
    const float *tap[NV_LATE_LINES]; /* of the delayed input */
    float sign[NV_LATE_LINES]; /* 1 or -1, of what comes into a line */
    float tap_gain[NV_LATE_LINES];
    const float *caught[2]; /* goes into the lines, too; NULL: nothing */
    float sum[2], sum_step[2]; /* gains of two sums of lines, middle and side, in the same glide */
    float *out[2]; /* the sides; aligned */
    float *add[2]; /* they are added to it, if they are finite; NULL: not */
    int frames;    /* a multiple of 16, at most NV_LATE_STEP */
} nv_late_lines;
#endif
