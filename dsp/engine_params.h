/* The engine's parameters: the one list of them.
 *
 * From it come the enum nv_param, nv_param_table (port.c), and dsp._engine.PARAMS, by which Python
 * names parameters. The order is the order in the port, whose version follows from it.
 *
 * Units are physical; the engine does all smoothing. The default is what a new port holds: the dry
 * signal, until the control process writes its values. The engine clamps each value to its range
 * and replaces one that is not finite by 0.
 */
#ifndef NV_ENGINE_PARAMS_H
#define NV_ENGINE_PARAMS_H

enum { NV_MAX_PREDELAY_MS = 100 };

/* clang-format off */
/* constant         name         default lowest highest */
#define NV_ENGINE_PARAMS(X) \
    X(NV_GAIN_DB,      gain_db,     -3,    -140,   24)     /* input gain; -140 is silence */ \
    X(NV_MIX,          mix,         0,     0,      1)      /* 0 dry, 1 wet */ \
    X(NV_MIX_LAW,      mix_law,     2,     0,      2)      /* 0 dry at unity up to the middle, 1
                                                            * equal power, 2 linear */ \
    X(NV_PREDELAY_MS,  predelay_ms, 0,     0,      NV_MAX_PREDELAY_MS) /* of the wet signal */ \
    X(NV_LOWPASS_ON,   lowpass_on,  0,     0,      1) \
    X(NV_LOWPASS_HZ,   lowpass_hz,  20000, 10,     24000) \
    X(NV_HIGHPASS_ON,  highpass_on, 0,     0,      1) \
    X(NV_HIGHPASS_HZ,  highpass_hz, 20,    10,     24000) \
    X(NV_BYPASS,       bypass,      0,     0,      1)      /* 1: output = input */ \
    X(NV_TRAILS,       trails,      1,     0,      1)      /* in bypass, 1: the tail rings out, 0:
                                                            * it is cut */ \
    X(NV_LIMITER_ON,   limiter_on,  1,     0,      1)      /* 1: limit peaks to full scale, remove a
                                                            * DC offset */ \
    X(NV_FADE_MS,      fade_ms,     15,    1,      2000)   /* crossfade of an IR change */ \
    X(NV_TAILS,        tails,       0,     0,      2)      /* at a change, what rings: 0 keeps its
                                                            * room, 1 follows, 2 is cut */

typedef enum nv_param {
#define CONSTANT(constant, name, initial, lowest, highest) constant,
    NV_ENGINE_PARAMS(CONSTANT)
#undef CONSTANT
    NV_PARAMS_USED
} nv_param;
/* clang-format on */

typedef struct nv_param_row {
    const char *name;
    float initial, lowest, highest;
} nv_param_row;
extern const nv_param_row nv_param_table[NV_PARAMS_USED];
#endif
