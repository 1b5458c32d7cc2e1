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

enum { NV_MAX_PREDELAY_MS = 2000 };

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
                                                            * room, 1 follows, 2 is cut */ \
    X(NV_DUCK_DB,      duck_db,     0,     0,      24)     /* the wet signal, under the input */ \
    X(NV_DUCK_RELEASE_MS, duck_release_ms, 300, 50, 1000) \
    X(NV_GATE_ON,      gate_on,     0,     0,      1)      /* of the room's input */ \
    X(NV_GATE_DB,      gate_db,     -50,   -80,    -10) \
    X(NV_GATE_HOLD_MS, gate_hold_ms, 100,  0,      1000) \
    X(NV_GATE_RELEASE_MS, gate_release_ms, 100, 5, 1000) \
    X(NV_TONE_LOW_DB,  tone_low_db, 0,     -12,    12)     /* shelves of the wet signal */ \
    X(NV_TONE_HIGH_DB, tone_high_db, 0,    -12,    12) \
    X(NV_LEVEL_DB,     level_db,    0,     -40,    12)     /* of the output, but in bypass */ \
    X(NV_KILL_DRY,     kill_dry,    0,     0,      1)      /* 1: no dry signal, nor in bypass */ \
    X(NV_HOLD,         hold,        0,     0,      1)      /* 1: what rings is held */ \
    X(NV_HOLD_MODE,    hold_mode,   0,     0,      1)      /* 0: nothing comes to it, 1: what is
                                                            * played is added */ \
    X(NV_MOVEMENT,     movement,    0,     0,      1)      /* of the wet sound's pitch */ \
    X(NV_MOVEMENT_HZ,  movement_hz, 0.3f,  0.01f,  5) \
    X(NV_SHIMMER,      shimmer,     0,     0,      1)      /* of what rings, that rises */ \
    X(NV_SHIMMER_INTERVAL, shimmer_interval, 0, 0, 3)      /* 0: +12, 1: +7, 2: +5, 3: -12
                                                            * semitones */

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
