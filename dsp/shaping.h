/* How the bands of a room fall, and what changes their decay times.
 *
 * dsp/shaping.py explains it and makes the tables; tests/reference/shaping.py states the same in
 * NumPy. Plain C11, float32. Not for the audio thread: it allocates.
 */
#ifndef NV_SHAPING_H
#define NV_SHAPING_H
#include <stdint.h>

/* The frames of a grid, and what smooths levels in them. */
typedef struct nv_falls {
    int frames, early;                 /* 4 frames or more; 0 .. frames are early */
    const float *edge_s, *centre_s;    /* [frames + 1], [frames] */
    const float *blur;                 /* [early][early]: energies to means over some 40 ms */
    const float *slope;                /* [frames][frames]: levels to slopes in dB/s */
    const int32_t *blur_rows, *slope_rows; /* see nv_find_rows() */
} nv_falls;

/* rows: the first row of a square matrix that is not 0 in the columns 0 .. 3, and that after the
 * last one; then of the columns 4 .. 7, and so on: as many numbers as half of the columns, and two
 * more. */
void nv_find_rows(const float *matrix, int columns, int32_t *rows);

/* level_db: [bands][frames]. direct_db: [bands], or NULL without a direct sound. fall_db: [bands]
 * [frames + 1], the fall of each band's smooth decay at the edges. share: [bands], the factor on
 * its rate that multiplies T30 by `decay`. 0, or -1 without memory. */
int nv_find_falls(const nv_falls *falls, int bands, const float *level_db, const float *direct_db,
                  float decay, float *fall_db, float *share);

/* last: [bands], the last frame of each band that is part of the room, not of a floor of noise or
 * rounding. 0, or -1 without memory. */
int nv_find_reliable(const nv_falls *falls, int bands, const float *level_db, int32_t *last);

/* The straight lines on which bands decay up to their frame `last`: levels at t = 0, rates in dB/s.
 * 0, or -1 without memory. */
int nv_find_lines(const nv_falls *falls, int bands, const float *level_db, const int32_t *last,
                  float *start_db, float *rate_db_s);

/* A map on another grid: NV_POINTS points in each of its frames. */
enum { NV_POINTS = 6 };
typedef struct nv_stretch {
    int frames, targets;
    const int32_t *frame;   /* [targets][NV_POINTS]: that of the map at each point */
    const float *beyond_s;  /* [targets][NV_POINTS]: how far a point is beyond the map, else 0 */
    float shift_db, depth_db; /* added to all levels; the lowest is so far below the loudest */
} nv_stretch;

/* level_db: [bands][frames]. rate_db_s: [bands], of decays beyond the map. out_db:
 * [bands][targets]. 0, or -1 without memory. */
int nv_stretch_map(const nv_stretch *s, int bands, const float *level_db, const float *rate_db_s,
                   float *out_db);
#endif
