/* What the late field (latefield.h) hands to its inner loops, which are in latefield_vectors.h. */
#ifndef NV_LATEFIELD_LINES_H
#define NV_LATEFIELD_LINES_H

enum {
    NV_LATE_LINES = 16,
    NV_LATE_FALLS = 5,  /* first-order sections that make the lines fall */
    NV_LATE_LEVELS = 8, /* first-order sections at the input of each side */
    NV_LATE_PASSES = 4, /* all-passes at the input of each side */
    NV_LATE_STEP = 64   /* frames at a time, at most; a multiple of 16 */
};

typedef struct nv_late_lines {
    /* Sections y = b0 x + s, s = b1 x - a1 y as [section][b0, b1, a1][line], and their states. */
    _Alignas(64) float fall[NV_LATE_FALLS][3][NV_LATE_LINES];
    _Alignas(64) float fall_state[NV_LATE_FALLS][NV_LATE_LINES];
    /* The last frame: what went into each section, and what left the last one. */
    _Alignas(64) float fall_last[NV_LATE_FALLS + 1][NV_LATE_LINES];
    /* The sections at the input work side by side, each on what the one before it gave one frame
     * earlier. */
    _Alignas(64) float level[3][NV_LATE_LEVELS];
    _Alignas(64) float level_state[2][NV_LATE_LEVELS], level_passed[2][NV_LATE_LEVELS];
    float level_last[2][NV_LATE_LEVELS]; /* what went into each at the last frame, in a glide */
    const float *from[NV_LATE_LINES]; /* what leaves each line */
    float *to[NV_LATE_LINES];         /* what enters it */
    const float *tap[NV_LATE_LINES]; /* of the delayed input */
    float sign[NV_LATE_LINES]; /* 1 or -1, of what comes into a line */
    float tap_gain;
    const float *caught[2]; /* goes into the lines, too; NULL: nothing */
    float middle, side;           /* gains of two sums of lines, before the step */
    float middle_step, side_step; /* and what is added at each frame */
    float *out[2]; /* the sides are added to it */
    int frames;    /* a multiple of 16, at most NV_LATE_STEP */
} nv_late_lines;
#endif
