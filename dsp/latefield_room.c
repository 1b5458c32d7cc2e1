#include "latefield_room.h"

#include <complex.h>
#include <math.h>

/* At 48 kHz: primes, so that no two lines return together often. */
static const int LINE_FRAMES[NV_LATE_LINES] = {1531, 4273, 2381, 5857, 3061, 6737, 2089, 5039,
                                               1789, 4651, 2719, 6277, 3457, 7229, 3851, 5431};
/* Smooth over octaves is what a line loses; what comes in is fitted more closely. */
static const double FALL_HZ[NV_LATE_FALLS] = {200, 700, 2500, 9000},
                    LEVEL_HZ[NV_LATE_LEVELS] = {90, 177, 354, 707, 1414, 2828, 5657, 11314};
static const int FIRST_RATE_HZ = 48000;
static const double RISING_HZ = 1000, LONGEST_S = 60; /* the longest T60 */
static const float RISING_MOST = 2;

int nv_late_seam(int rate_hz, int max_taps) {
    int64_t end = max_taps - (int64_t)rate_hz * NV_LATE_FADE_MS / 1000,
            wanted = (int64_t)rate_hz * NV_LATE_SEAM_MS / 1000;
    if (end < (int64_t)rate_hz * NV_LATE_LEAST_MS / 1000) return 0;
    return (int)(end < wanted ? end : wanted);
}

int nv_late_at_rate(int frames, int rate_hz) {
    int there = (int)lrint((double)frames * rate_hz / FIRST_RATE_HZ) | 1;
    return there > NV_LATE_STEP ? there : NV_LATE_STEP + 1;
}

void nv_late_delays(int rate_hz, int delay[NV_LATE_LINES]) {
    for (int i = 0; i < NV_LATE_LINES; i++) delay[i] = nv_late_at_rate(LINE_FRAMES[i], rate_hz);
}

void nv_late_poles(int rate_hz, double fall_hz[NV_LATE_FALLS], double level_hz[NV_LATE_LEVELS]) {
    for (int k = 0; k < NV_LATE_FALLS; k++) fall_hz[k] = fmin(FALL_HZ[k], 0.4 * rate_hz);
    for (int k = 0; k < NV_LATE_LEVELS; k++) level_hz[k] = fmin(LEVEL_HZ[k], 0.4 * rate_hz);
}

/* At 0 Hz, up to half of the rate, by a third of an octave and less. */
void nv_late_check_init(nv_late_check *check, int rate_hz) {
    double fall_hz[NV_LATE_FALLS], level_hz[NV_LATE_LEVELS];
    nv_late_poles(rate_hz, fall_hz, level_hz);
    for (int i = 0; i < NV_LATE_LOOKS; i++) {
        double hz = i ? rate_hz / 2.0 * pow(1e-3, 1 - i / (NV_LATE_LOOKS - 1.0)) : 0;
        for (int k = 0; k < NV_LATE_FALLS; k++) {
            double pole = exp(-2 * M_PI * fall_hz[k] / rate_hz);
            double complex gain = (1 - pole) / (1 - pole * cexp(-2 * M_PI * hz / rate_hz * I));
            check->re[i][k] = (float)creal(gain), check->im[i][k] = (float)cimag(gain);
        }
    }
}

static int all_within(const float *gain, int count, float most) {
    int fit = 1;
    for (int i = 0; i < count; i++) fit &= fabsf(gain[i]) <= most; /* false for a NaN */
    return fit;
}

int nv_late_fits(const nv_late_check *check, const nv_late_room *room) {
    int fit = fabsf(room->middle) <= 1 && fabsf(room->side) <= 1;
    fit &= all_within(room->level, NV_LATE_LEVELS + 1, 1e4f);
    for (int k = 0; k <= NV_LATE_FALLS; k++) fit &= all_within(room->fall[k], NV_LATE_LINES, 100);
    for (int look = 0; fit && look < NV_LATE_LOOKS; look++)
        for (int i = 0; i < NV_LATE_LINES; i++) {
            float re = room->fall[0][i], im = 0;
            for (int k = 0; k < NV_LATE_FALLS; k++)
                re += room->fall[k + 1][i] * check->re[look][k],
                    im += room->fall[k + 1][i] * check->im[look][k];
            fit &= re * re + im * im <= 1.0001f;
        }
    return fit;
}

float nv_late_rising_gain(const nv_late_lines *lines, const float fall[][NV_LATE_LINES],
                          const int delay[NV_LATE_LINES], int rate_hz) {
    double frames = 0;
    double complex z = cexp(-2 * M_PI * fmin(RISING_HZ / rate_hz, 0.25) * I), gain = fall[0][0];
    for (int k = 0; k < NV_LATE_FALLS; k++)
        gain += fall[k + 1][0] / (1 - lines->fall_pole[k][0] * z);
    /* What a pass through the first line leaves; the matrix has a gain of 4. */
    double power = 16 * (creal(gain) * creal(gain) + cimag(gain) * cimag(gain));
    for (int i = 0; i < NV_LATE_LINES; i++) frames += delay[i];
    double passes = power < 1 ? -1 / log(fmax(power, 1e-30)) : 1e9, /* until 1 / e is left */
        lasts = fmin(passes * delay[0], LONGEST_S / log(1e6) * rate_hz);
    return fminf((float)sqrt(frames / (24 * lasts)), RISING_MOST);
}
