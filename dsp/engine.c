#include "engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "denormals.h"
#include "duck.h"
#include "engine_filters.h"
#include "gate.h"
#include "latefield.h"
#include "movement.h"
#include "reblock.h"
#include "sides.h"
#include "tone.h"

static const float INPUT_LIMIT = 16.0f; /* 24 dB above full scale: above it an input is broken */
static const float WET_LIMIT = 1e6f;    /* 120 dB: above any output of a limited input and a valid
                                         * IR */
static const float LIMITER_RELEASE_MS = 80.0f;

/* ---- the engine ------------------------------------------------------------------------------ */

struct nv_engine {
    nv_port *port;
    nv_kernel *kernel;
    nv_latefield *late;
    nv_movement movement;
    int frames, inputs, ramp_frames;
    double rate_hz;
    float params[NV_PARAMS];
    uint32_t params_sequence;
    ramp send, wet, dry;
    filter highpass, lowpass;
    predelay delay;
    nv_key key;
    float key_steps[NV_MAX_BLOCK / NV_KEY_STEP]; /* of this block, if duck or gate listen */
    nv_gate gate;
    nv_tone tone;
    nv_duck duck;
    unsigned char reading[NV_SLOTS]; /* 1: the kernel reads the slot's spectra */
    float *gained[2];
    ramp bare; /* 1: no room, the wet path passes its input; fades to 0 with the first room */
    offset_guard offset;
    float limiter_gain, limiter_release;
    uint64_t begin_ns, expected_ns, period_ns;
    uint64_t float_mode;
    nv_sides sides;
    _Atomic int automatic_inputs, mono_output, routes;
    int routes_seen;
    int host_frames;
    nv_reblock *reblock; /* NULL: the host's block is the engine's */
};

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t); /* no system call (vDSO) */
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void count(_Atomic uint64_t *counter, uint64_t n) {
    /* The audio thread is the only writer, so no atomic read-modify-write is needed. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static float clamp(float v, float low, float high) { return v < low ? low : v > high ? high : v; }

static void hold_peak(_Atomic uint32_t *meter, float peak) {
    uint32_t bits; /* non-negative floats sort like their bits */
    memcpy(&bits, &peak, sizeof bits);
    if (bits > atomic_load_explicit(meter, memory_order_relaxed))
        atomic_store_explicit(meter, bits, memory_order_relaxed);
}

static double amplitude(double db) { return db <= -140 ? 0 : pow(10, db / 20); }

/* Reads the parameters if they have changed; 1 if so. They come from shared memory, so each is
 * clamped to its range: no delay or cutoff can exceed its buffer or become invalid. */
static int read_params(nv_engine *e) {
    uint32_t sequence = atomic_load_explicit(&e->port->params_sequence, memory_order_relaxed);
    if (sequence == e->params_sequence || !nv_port_get_params(e->port, e->params)) return 0;
    e->params_sequence = sequence;
    for (int i = 0; i < NV_PARAMS_USED; i++) {
        float value = isfinite(e->params[i]) ? e->params[i] : 0;
        e->params[i] = clamp(value, nv_param_table[i].lowest, nv_param_table[i].highest);
    }
    return 1;
}

/* The gains of the dry and the wet signal. */
static void mix_gains(const float *p, double *dry, double *wet) {
    double mix = p[NV_MIX];
    switch ((int)lrintf(p[NV_MIX_LAW])) {
    case 0: *dry = fmin(1, 2 * (1 - mix)), *wet = fmin(1, 2 * mix); break;
    case 1: *dry = cos(M_PI / 2 * mix), *wet = sin(M_PI / 2 * mix); break;
    default: *dry = 1 - mix, *wet = mix;
    }
    if (mix >= 1) *dry = 0; /* not the rounding of a cosine */
}

/* Sets the ramps' targets from the parameters. `ramp_frames` 0 jumps to them (before the first
 * block). */
static void apply(nv_engine *e, int ramp_frames) {
    const float *p = e->params;
    double gain = amplitude(p[NV_GAIN_DB]), level = amplitude(p[NV_LEVEL_DB]), dry_gain, wet_gain;
    mix_gains(p, &dry_gain, &wet_gain);
    int bypass = p[NV_BYPASS] >= 0.5f, trails = p[NV_TRAILS] >= 0.5f;
    int hold = p[NV_HOLD] >= 0.5f, layer = p[NV_HOLD_MODE] >= 0.5f;
    nv_latefield_hold(e->late, hold, layer);
    nv_latefield_move(e->late, p[NV_MOVEMENT], p[NV_MOVEMENT_HZ]);
    nv_movement_set(&e->movement, p[NV_MOVEMENT], p[NV_MOVEMENT_HZ]);
    nv_latefield_shimmer(e->late, p[NV_SHIMMER], (int)lrintf(p[NV_SHIMMER_INTERVAL]));
    double send = bypass || (hold && !layer) ? 0 : gain,
           wet = bypass && !trails ? 0 : wet_gain * level,
           dry = p[NV_KILL_DRY] >= 0.5f ? 0 : bypass ? 1 : dry_gain * gain * level;
    double low_hz = p[NV_LOWPASS_HZ], high_hz = p[NV_HIGHPASS_HZ];
    nv_gate_set(&e->gate, p[NV_GATE_ON] >= 0.5f, p[NV_GATE_DB], p[NV_GATE_HOLD_MS],
                p[NV_GATE_RELEASE_MS]);
    nv_tone_set(&e->tone, p[NV_TONE_LOW_DB], p[NV_TONE_HIGH_DB], ramp_frames);
    nv_duck_set(&e->duck, p[NV_DUCK_DB], p[NV_DUCK_RELEASE_MS], ramp_frames);
    if (ramp_frames == 0) {
        ramp_jump(&e->send, send), ramp_jump(&e->wet, wet), ramp_jump(&e->dry, dry);
        ramp_jump(&e->lowpass.log2_hz, log2(low_hz)),
            ramp_jump(&e->highpass.log2_hz, log2(high_hz));
        ramp_jump(&e->lowpass.amount, p[NV_LOWPASS_ON] >= 0.5f),
            ramp_jump(&e->highpass.amount, p[NV_HIGHPASS_ON] >= 0.5f);
        e->lowpass.now = nv_filter_design(0, low_hz, e->rate_hz),
        e->highpass.now = nv_filter_design(1, high_hz, e->rate_hz);
        e->delay.now = nv_delay_tap_at(p[NV_PREDELAY_MS] * e->rate_hz / 1000);
        return;
    }
    ramp_to(&e->send, send, ramp_frames), ramp_to(&e->wet, wet, ramp_frames),
        ramp_to(&e->dry, dry, ramp_frames);
    ramp_to(&e->lowpass.log2_hz, log2(low_hz), ramp_frames),
        ramp_to(&e->highpass.log2_hz, log2(high_hz), ramp_frames);
    ramp_to(&e->lowpass.amount, p[NV_LOWPASS_ON] >= 0.5f, ramp_frames);
    ramp_to(&e->highpass.amount, p[NV_HIGHPASS_ON] >= 0.5f, ramp_frames);
}

static int fade_frames(const nv_engine *e) {
    return (int)(e->params[NV_FADE_MS] * e->rate_hz / 1000);
}

static void free_slots(nv_engine *e) {
    for (int slot = 0; slot < NV_SLOTS; slot++)
        if (e->reading[slot] && !nv_kernel_reads(e->kernel, nv_port_spectra(e->port, slot))) {
            e->reading[slot] = 0;
            nv_port_set_slot(e->port, slot, NV_SLOT_FREE);
        }
}

/* Frees the port's slots that the kernel no longer reads, and takes a new IR if one is waiting. */
static void change_room(nv_engine *e) {
    nv_port *port = e->port;
    nv_meters *m = &port->meters;
    nv_tails tails = (nv_tails)lrintf(e->params[NV_TAILS]);
    free_slots(e);
    atomic_store_explicit(&m->fading, (uint32_t)nv_kernel_fading(e->kernel), memory_order_relaxed);
    nv_kernel_set_fade(e->kernel, fade_frames(e));
    if (nv_kernel_ready(e->kernel, tails)) return;
    int slot =
        nv_port_take_ir(port, atomic_load_explicit(&m->playing_serial, memory_order_relaxed));
    if (slot < 0) return;
    const void *spectra = nv_port_spectra(port, slot);
    uint64_t bytes = atomic_load_explicit(&port->slot[slot].bytes, memory_order_relaxed);
    if (bytes > port->slot_bytes || nv_spectra_check(&port->layout, spectra, bytes) ||
        nv_kernel_load(e->kernel, spectra, tails)) {
        nv_port_set_slot(port, slot, NV_SLOT_FREE); /* damaged: the current room keeps playing */
        return;
    }
    nv_latefield_room(e->late, &port->late[slot], fade_frames(e), tails);
    e->reading[slot] = 1;
    nv_port_set_slot(port, slot, NV_SLOT_PLAYING);
    ramp_to(&e->bare, 0, fade_frames(e));
    atomic_store_explicit(&m->playing_serial,
                          atomic_load_explicit(&port->slot[slot].serial, memory_order_relaxed),
                          memory_order_relaxed);
    atomic_store_explicit(&m->playing_since_ns, e->begin_ns, memory_order_relaxed);
    atomic_store_explicit(&m->fading, 1, memory_order_relaxed);
}

nv_engine *nv_engine_new(nv_port *port, int *error) {
    int ignored;
    if (!error) error = &ignored;
    nv_engine *e = calloc(1, sizeof *e);
    *error = NV_E_MEMORY;
    if (!e) return NULL;
    e->port = port;
    e->rate_hz = port->rate_hz;
    e->frames = (int)port->layout.block_frames;
    e->inputs = (int)port->layout.inputs;
    e->ramp_frames = (int)(NV_RAMP_MS * e->rate_hz / 1000);
    e->host_frames = (int)port->host_frames;
    e->period_ns = (uint64_t)(1e9 * e->host_frames / e->rate_hz);
    ramp_jump(&e->bare, 1);
    e->limiter_gain = 1;
    e->limiter_release = expf(-1000.0f / (LIMITER_RELEASE_MS * (float)e->rate_hz));
    e->highpass = (filter){.highpass = 1, .rate_hz = e->rate_hz};
    e->lowpass = (filter){.highpass = 0, .rate_hz = e->rate_hz};
    nv_sides_init(&e->sides, e->rate_hz);
    e->key = nv_key_at(e->rate_hz);
    nv_gate_init(&e->gate, e->rate_hz);
    nv_tone_init(&e->tone, e->rate_hz);
    nv_duck_init(&e->duck, e->rate_hz);
    if (e->host_frames != e->frames && !(e->reblock = nv_reblock_new(e->host_frames, e->inputs)))
        return nv_engine_free(e), NULL;
    int line = 1;
    while (line < NV_MAX_PREDELAY_MS * e->rate_hz / 1000 + 4 + e->frames) line *= 2;
    e->delay.mask = line - 1;
    e->delay.fade_frames = e->delay.faded = e->ramp_frames;
    for (int c = 0; c < NV_OUTPUTS; c++) {
        e->delay.line[c] = calloc((size_t)line, sizeof(float));
        e->gained[c] = calloc((size_t)e->frames, sizeof(float));
        if (!e->delay.line[c] || !e->gained[c]) return nv_engine_free(e), NULL;
    }
    e->late = nv_latefield_new((int)port->rate_hz, e->frames, (int)port->layout.max_taps);
    if (!e->late || !nv_movement_init(&e->movement, e->rate_hz, e->frames))
        return nv_engine_free(e), NULL;
    /* Kept if a writer died half-way. */
    for (int i = 0; i < NV_PARAMS_USED; i++) e->params[i] = nv_param_table[i].initial;
    read_params(e);
    apply(e, 0);
    e->kernel = nv_kernel_new(&port->layout, fade_frames(e), error);
    if (!e->kernel) return nv_engine_free(e), NULL;
    nv_port_recover_audio(port);
    memset(&port->meters, 0, sizeof port->meters);
    atomic_store_explicit(&port->meters.pid, (uint32_t)getpid(), memory_order_relaxed);
    *error = NV_OK;
    return e;
}

void nv_engine_free(nv_engine *e) {
    if (!e) return;
    if (e->kernel) nv_kernel_free(e->kernel);
    nv_latefield_free(e->late);
    nv_movement_free(&e->movement);
    nv_reblock_free(e->reblock);
    for (int c = 0; c < NV_OUTPUTS; c++) free(e->delay.line[c]), free(e->gained[c]);
    free(e);
}

void nv_engine_route(nv_engine *e, int automatic_inputs, int mono_output) {
    atomic_store_explicit(&e->automatic_inputs, automatic_inputs, memory_order_relaxed);
    atomic_store_explicit(&e->mono_output, mono_output, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->routes, 1, memory_order_release);
}

void nv_engine_begin(nv_engine *e) {
    /* This also covers pyo's objects within the block. finish() restores the mode, for other work
     * of a renderer's thread. */
    e->float_mode = nv_flush_denormals();
    uint64_t now = now_ns();
    if (e->expected_ns && now > e->expected_ns + e->period_ns / 2) {
        count(&e->port->meters.late_blocks, 1);
        e->expected_ns = now;
    }
    e->begin_ns = now;
    /* A slow PLL: lateness is measured against the mean clock, not against the previous block. */
    e->expected_ns = e->expected_ns
                         ? e->expected_ns + e->period_ns + ((int64_t)(now - e->expected_ns)) / 64
                         : now + e->period_ns;
}

/* Input -> gained (for the convolution) and dry, both from guarded samples: non-finite ones become
 * 0, others are clamped to INPUT_LIMIT. */
static void take_input(nv_engine *e, const float *const *in, float *const *dry_out) {
    nv_meters *m = &e->port->meters;
    for (int c = 0; c < e->inputs; c++) {
        float peak = 0, *guarded = e->gained[c];
        unsigned bad = 0;
        for (int i = 0; i < e->frames; i++) {
            float x = in[c][i];
            if (!isfinite(x)) x = 0, bad++;
            guarded[i] = clamp(x, -INPUT_LIMIT, INPUT_LIMIT);
            peak = fmaxf(peak, fabsf(guarded[i]));
        }
        if (bad) count(&m->nonfinite_samples, bad);
        hold_peak(&m->input_peak[c], peak);
    }
    if (e->inputs == 2) {
        int routes = atomic_load_explicit(&e->routes, memory_order_acquire);
        if (routes != e->routes_seen) e->routes_seen = routes, nv_sides_learn(&e->sides);
        int automatic = atomic_load_explicit(&e->automatic_inputs, memory_order_relaxed);
        int feed = nv_sides_in(&e->sides, e->gained, e->frames, automatic);
        atomic_store_explicit(&m->input_feed, (uint32_t)feed, memory_order_relaxed);
        atomic_store_explicit(&m->two_sources, (uint32_t)e->sides.two_sources,
                              memory_order_relaxed);
    }
    if (nv_gate_acts(&e->gate) || nv_duck_acts(&e->duck))
        nv_key_run(&e->key, e->gained, e->inputs, e->frames, e->key_steps);
    else
        e->key.level = 0;
    ramp send = e->send, dry = e->dry;
    for (int c = 0; c < e->inputs; c++) {
        float *gained = e->gained[c], *through = dry_out[c];
        send = e->send, dry = e->dry;
        for (int i = 0; i < e->frames; i++) {
            through[i] = gained[i] * (float)ramp_next(&dry);
            gained[i] *= (float)ramp_next(&send);
        }
    }
    if (e->inputs == 1) memcpy(dry_out[1], dry_out[0], (size_t)e->frames * sizeof(float));
    e->send = send, e->dry = dry;
    nv_gate_run(&e->gate, e->key_steps, e->gained, e->inputs, e->frames);
}

/* Without a room the wet path passes its input. It does so too for each block whose convolution is
 * damaged (anything may overwrite spectra in shared memory). So only valid numbers reach the
 * filters, whose feedback would keep others for ever. */
static void guard_wet(nv_engine *e, float *const *wet) {
    const float *gained[2] = {e->gained[0], e->gained[e->inputs - 1]};
    int valid = 1;
    for (int c = 0; c < NV_OUTPUTS; c++)
        for (int i = 0; i < e->frames; i++)
            valid &= fabsf(wet[c][i]) <= WET_LIMIT; /* false for a NaN */

    if (!valid) {
        count(&e->port->meters.nonfinite_samples, (uint64_t)(NV_OUTPUTS * e->frames));
        for (int c = 0; c < NV_OUTPUTS; c++)
            memcpy(wet[c], gained[c], (size_t)e->frames * sizeof(float));
    } else if (e->bare.left || e->bare.value > 0) {
        ramp bare = e->bare;
        for (int c = 0; c < NV_OUTPUTS; c++) {
            bare = e->bare;
            for (int i = 0; i < e->frames; i++) wet[c][i] += (float)ramp_next(&bare) * gained[c][i];
        }
        e->bare = bare;
    }
}

/* A block of the engine. */
static void process_block(void *engine, const float *const *in, float *const *wet,
                          float *const *dry) {
    nv_engine *e = engine;
    if (read_params(e)) apply(e, e->ramp_frames);
    change_room(e);
    take_input(e, in, dry);
    const float *gained[2] = {e->gained[0], e->gained[1]};
    nv_kernel_process(e->kernel, gained, wet);
    guard_wet(e, wet);
    if (nv_latefield_sounds(e->late)) nv_latefield_process(e->late, gained, e->inputs, wet);
    nv_movement_run(&e->movement, wet);
    nv_filter_run(&e->highpass, wet, e->frames);
    nv_filter_run(&e->lowpass, wet, e->frames);
    nv_tone_run(&e->tone, wet, e->frames);
    nv_predelay_run(&e->delay, wet, e->frames, e->params[NV_PREDELAY_MS] * e->rate_hz / 1000);
    for (int i = 0; i < e->frames; i++) {
        float g = (float)ramp_next(&e->wet);
        wet[0][i] *= g, wet[1][i] *= g;
    }
    nv_duck_run(&e->duck, e->key_steps, wet, e->frames);
}

void nv_engine_process(nv_engine *e, const float *const *in, float *const *wet, float *const *dry) {
    if (e->reblock)
        nv_reblock_run(e->reblock, in, wet, dry, process_block, e);
    else
        process_block(e, in, wet, dry);
}

void nv_engine_finish(nv_engine *e, const float *const *mixed, float *const *out) {
    nv_meters *m = &e->port->meters;
    int limit = e->params[NV_LIMITER_ON] >= 0.5f;
    float peak[NV_OUTPUTS] = {0, 0};
    unsigned bad = 0, limited = 0;
    for (int c = 0; c < NV_OUTPUTS; c++)
        for (int i = 0; i < e->host_frames; i++) {
            float x = mixed[c][i];
            if (!isfinite(x)) x = 0, bad++;
            out[c][i] = x;
        }
    nv_sides_out(&e->sides, out, e->host_frames,
                 atomic_load_explicit(&e->mono_output, memory_order_relaxed));
    if (nv_offset_run(&e->offset, out, e->host_frames, e->rate_hz, limit))
        count(&m->offset_blocks, 1);
    for (int i = 0; i < e->host_frames; i++) {
        float loudest = fmaxf(fabsf(out[0][i]), fabsf(out[1][i]));
        if (limit) { /* instant attack, exponential release; the same gain for both channels keeps
                      * the stereo image */
            e->limiter_gain = 1 - (1 - e->limiter_gain) * e->limiter_release;
            if (loudest * e->limiter_gain > 1) e->limiter_gain = 1 / loudest, limited++;
            if (e->limiter_gain > 0.99999f) e->limiter_gain = 1;
        } else {
            e->limiter_gain = 1;
        }
        for (int c = 0; c < NV_OUTPUTS; c++) {
            float y = out[c][i] * e->limiter_gain;
            out[c][i] = y;
            if (fabsf(y) > peak[c]) peak[c] = fabsf(y);
        }
    }
    for (int c = 0; c < NV_OUTPUTS; c++) hold_peak(&m->output_peak[c], peak[c]);
    if (bad) count(&m->nonfinite_samples, bad);
    if (limited) count(&m->limited_samples, limited);
    uint64_t now = now_ns(), busy = now - e->begin_ns;
    count(&m->busy_ns, busy);
    if (busy > atomic_load_explicit(&m->worst_ns, memory_order_relaxed))
        atomic_store_explicit(&m->worst_ns, busy, memory_order_relaxed);
    count(&m->blocks, 1);
    atomic_store_explicit(&m->heartbeat_ns, now, memory_order_release);
    nv_restore_denormals(e->float_mode);
}
