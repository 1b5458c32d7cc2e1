/* The meters of the audio process: the one list of them.
 *
 * From it come the struct nv_meters in the port and dsp._engine.Meters, so that C, Python and most
 * keys of `nverb status --json` share their names. The order is the order in the port, whose
 * version follows from it. Written by the audio thread only, except that a reader which takes a
 * MAXIMUM or PEAKS sets it to 0.
 *
 *   COUNTER  uint64_t            a count since the engine started, or a time in ns
 *   MAXIMUM  uint64_t            the largest value since it was last taken
 *   PEAKS    uint32_t[2]         float32 bits: the largest |sample| of a channel since last taken
 *   NUMBER   uint32_t
 *   FLAG     uint32_t            0 or 1
 */
#ifndef NV_METERS_H
#define NV_METERS_H
#include <stdint.h>

/* clang-format off */
#define NV_METERS(COUNTER, MAXIMUM, PEAKS, NUMBER, FLAG) \
    COUNTER(blocks)            /* processed since the engine started */ \
    COUNTER(heartbeat_ns)      /* CLOCK_MONOTONIC at the end of the last block */ \
    COUNTER(late_blocks)       /* began over half a block period late: an xrun, audible or not */ \
    COUNTER(nonfinite_samples) /* NaN or infinite samples that the guards replaced by 0 */ \
    COUNTER(busy_ns)           /* sum of the times between begin and finish */ \
    MAXIMUM(worst_ns)          /* the longest of these times */ \
    COUNTER(limited_samples)   /* samples that the limiter reduced */ \
    COUNTER(playing_serial)    /* newest IR whose crossfade has begun; 0: none */ \
    COUNTER(playing_since_ns)  /* CLOCK_MONOTONIC when it began */ \
    PEAKS(input_peak) \
    PEAKS(output_peak) \
    NUMBER(pid)                /* of the audio process */ \
    FLAG(fading)               /* during a crossfade */ \
    COUNTER(offset_blocks)     /* blocks from whose output a DC offset was subtracted */ \
    NUMBER(input_feed)         /* 0: each input feeds its side; 1, 2: this one feeds both */ \
    FLAG(two_sources)          /* the inputs are two sources, see sides.h */
/* clang-format on */

typedef struct nv_meters {
#define WIDE(name) _Atomic uint64_t name;
#define PAIR(name) _Atomic uint32_t name[2];
#define WORD(name) _Atomic uint32_t name;
    NV_METERS(WIDE, WIDE, PAIR, WORD, WORD)
#undef WIDE
#undef PAIR
#undef WORD
} nv_meters;
#endif
