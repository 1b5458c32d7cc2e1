/* What of the late field (latefield.h) depends on the rate and on the room alone. */
#ifndef NV_LATEFIELD_ROOM_H
#define NV_LATEFIELD_ROOM_H
#include "latefield.h"

/* The frames of this many at 48 kHz: odd. */
int nv_late_at_rate(int frames, int rate_hz);
/* Looks at the gain of lines' filters at frequencies that are dense enough for one-poles. */
enum { NV_LATE_LOOKS = 32 };
typedef struct {
    float re[NV_LATE_LOOKS][NV_LATE_FALLS], im[NV_LATE_LOOKS][NV_LATE_FALLS]; /* of one-poles */
} nv_late_check;
void nv_late_check_init(nv_late_check *check, int rate_hz);
/* Whether a room's values can be used: no line makes anything louder. */
int nv_late_fits(const nv_late_check *check, const nv_late_room *room);
/* The gain at which the shimmer of a convolved sound is as loud as that, with all of `shimmer`: the
 * more slowly the lines fall, the more of it they gather. fall: as in nv_late_lines, which has the
 * poles. */
float nv_late_rising_gain(const nv_late_lines *lines, const float fall[][NV_LATE_LINES],
                          const int delay[NV_LATE_LINES], int rate_hz);
#endif
