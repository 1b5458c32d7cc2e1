#include "latefield_room.h"

#include <math.h>

/* At 48 kHz: primes, so that no two lines return together often. */
static const int LINE_FRAMES[NV_LATE_LINES] = {1531, 4273, 2381, 5857, 3061, 6737, 2089, 5039,
                                               1789, 4651, 2719, 6277, 3457, 7229, 3851, 5431};
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

static int sections_fit(const float *b0, const float *b1, const float *a1, int count, float most) {
    int fit = 1;
    for (int i = 0; i < count; i++)
        fit &= fabsf(b0[i]) <= most && fabsf(b1[i]) <= most && fabsf(a1[i]) <= 0.99999f;
    return fit; /* false for a NaN */
}

int nv_late_fits(const nv_late_room *room) {
    int fit = fabsf(room->middle) <= 1 && fabsf(room->side) <= 1;
    fit &= sections_fit(room->level[0], room->level[1], room->level[2], NV_LATE_LEVELS, 1e3f);
    for (int k = 0; k < NV_LATE_FALLS; k++) {
        const float(*q)[NV_LATE_LINES] = room->fall[k];
        fit &= sections_fit(q[0], q[1], q[2], NV_LATE_LINES, 4);
    }
    for (int i = 0; fit && i < NV_LATE_LINES; i++) {
        double low = 1, high = 1; /* gains at 0 Hz and at half the rate; in between it is less */
        for (int k = 0; k < NV_LATE_FALLS; k++) {
            const float(*q)[NV_LATE_LINES] = room->fall[k];
            low *= fabs((q[0][i] + q[1][i]) / (1 + q[2][i]));
            high *= fabs((q[0][i] - q[1][i]) / (1 - q[2][i]));
        }
        fit &= low <= 1.0001 && high <= 1.0001;
    }
    return fit;
}

float nv_late_rising_gain(const float fall[NV_LATE_FALLS][3][NV_LATE_LINES],
                          const int delay[NV_LATE_LINES], int rate_hz) {
    double x = cos(2 * M_PI * fmin(RISING_HZ / rate_hz, 0.25)), frames = 0;
    double power = 16; /* what a pass through the first line leaves; the matrix has a gain of 4 */
    for (int k = 0; k < NV_LATE_FALLS; k++) {
        double b0 = fall[k][0][0], b1 = fall[k][1][0], a1 = fall[k][2][0];
        power *= (b0 * b0 + b1 * b1 + 2 * b0 * b1 * x) / (1 + a1 * a1 + 2 * a1 * x);
    }
    for (int i = 0; i < NV_LATE_LINES; i++) frames += delay[i];
    double passes = power < 1 ? -1 / log(fmax(power, 1e-30)) : 1e9, /* until 1 / e is left */
        lasts = fmin(passes * delay[0], LONGEST_S / log(1e6) * rate_hz);
    return fminf((float)sqrt(frames / (24 * lasts)), RISING_MOST);
}
