/* The single reflections of a room, its taps, as sound: pulses whose energy comes from the noise
 * around.
 *
 * dsp/pulses.py explains it and makes the tables; tests/reference/pulses.py states the same in
 * NumPy. Plain C11, float32. Not for the audio thread: it allocates.
 */
#ifndef NV_PULSES_H
#define NV_PULSES_H
#include <stdint.h>

/* What is the same for all rooms of a grid at a rate. */
typedef struct nv_pulses {
    int bands, frames, rate_hz;
    int heard;                       /* bands below half of the rate, 1 or more */
    const float *centre_s, *frame_s; /* [frames], 2 or more */
    const float *octave;             /* [bands]: from 1 kHz */
    const float *reflected;          /* [bands]: how much of a band taps can have */
    int size; /* of the transform; even, with the factors 2, 3 and 5 only. A pulse has half of it */
    const int32_t *node; /* [size / 2 + 1]: for each bin the band below, */
    const float *share;  /* and the way to the next */
    const float *density_db; /* [bands]: what a unit of energy in a band is as a density */
    const float *fade;       /* [size / 2]: the end of a pulse */
    int window_frames;
    const float *window; /* [window_frames]: an ear hears the energy in it as one */
} nv_pulses;

typedef struct nv_taps {
    int count;
    const float *time_s, *share, *side, *tilt_db; /* [count] */
} nv_taps;

/* Work memory for four pulses, which are the lanes of vectors. */
typedef struct nv_pulse_work {
    float *x, *y, *points[2];     /* [size][4] */
    float *level;                 /* [size / 2 + 1][4] */
    float *fold, *halves, *fades; /* [size]: what spectra are multiplied by */
} nv_pulse_work;

enum { NV_DEEPEST_DB = 80 }; /* the spectrum of a pulse reaches this far below its highest level */

/* level_db, left_db: [bands][frames], the levels of a room and those without what the taps take.
 * energy_db: [count][bands], the energy of each tap. 0, or -1 without memory. */
int nv_split_taps(const nv_pulses *p, const nv_taps *taps, const float *level_db, float *left_db,
                  float *energy_db);

/* Minimum-phase pulses with these energies, [count][size / 2]. 0, or -1 without memory. */
int nv_make_pulses(const nv_pulses *p, int count, const float *energy_db, float *pulse);

/* Adds the taps to the noise of a room, `samples` of both sides. left_db, energy_db: from
 * nv_split_taps(). 0, or -1 without memory. */
int nv_add_taps(const nv_pulses *p, const nv_taps *taps, const float *left_db,
                const float *energy_db, float width, float *left, float *right, int samples);
#endif
