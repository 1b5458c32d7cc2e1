/* Hostile input to everything that reads shared memory or an IR: layouts, spectra, ports, sessions.
 * Built with AddressSanitizer and UndefinedBehaviorSanitizer by test_sanitizers.py, which runs a
 * fixed number of inputs. As a libFuzzer target:
 *
 *     clang -O1 -g -fsanitize=fuzzer,address -DLIBFUZZER -DNV_BASELINE_ONLY -Idsp -lm \
 *         tests/dsp/fuzz.c dsp/engine*.c dsp/port.c dsp/kernel*.c && ./a.out -max_len=256
 *
 * The bytes of an input select what is damaged and done. Anything that passes the checks must be
 * harmless: no access out of bounds, no undefined behaviour, and only finite samples from the
 * engine.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "kernel_spectra.h"

typedef struct {
    const uint8_t *at, *end;
} bytes;

static uint32_t take(bytes *b, int n) { /* 0 at the end */
    uint32_t v = 0;
    for (; n > 0; n--) v = v << 8 | (b->at < b->end ? *b->at++ : 0);
    return v;
}

static float take_float(bytes *b) { /* any bit pattern, or a number in -1 .. 1 */
    uint32_t bits = take(b, 4);
    float v;
    memcpy(&v, &bits, sizeof v);
    return bits & 1 ? v : (float)(bits >> 8) / 8388608.0f - 1.0f;
}

static void damage(bytes *b, uint8_t *memory, size_t size) {
    for (uint32_t n = take(b, 1) % 8; n > 0; n--) {
        uint32_t where = take(b, 2) % size, how = take(b, 1);
        if (how & 1)
            memory[where] ^= (uint8_t)(1 << take(b, 1) % 8);
        else
            memory[where] = (uint8_t)take(b, 1);
    }
}

static nv_layout a_layout(bytes *b) {
    nv_layout layout;
    int error = nv_layout_plan(&layout, 16 << take(b, 1) % 4, 1 + (int)(take(b, 2) % 5000),
                               1 + (int)take(b, 1) % 2);
    if (error) abort();
    return layout;
}

static void *room(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p) abort();
    memset(p, 0, bytes);
    return p;
}

/* Makes an IR with some odd samples and prepares it into `spectra`; 1 if it was accepted. */
static int an_ir(bytes *b, const nv_layout *layout, int channels, int taps, void *spectra,
                 size_t size) {
    float *h = room((size_t)taps * 4 * sizeof *h);
    const float *ir[4] = {h, h + taps, h + 2 * taps, h + 3 * taps};
    for (int i = 0; i < 4 * taps; i++) h[i] = (float)((i * 7919) % 101) / 1e4f;
    for (uint32_t n = take(b, 1) % 4; n > 0; n--) h[take(b, 2) % (uint32_t)taps] = take_float(b);
    int error = nv_prepare(layout, ir, channels, taps, spectra, size);
    free(h);
    return error;
}

static void blocks(nv_kernel *kernel, const nv_layout *layout, int n) {
    float in[2][NV_MAX_BLOCK] = {{1}, {1}}, out[2][NV_MAX_BLOCK];
    (void)layout;
    const float *from[2] = {in[0], in[1]};
    float *to[2] = {out[0], out[1]};
    for (; n > 0; n--) nv_kernel_process(kernel, from, to);
}

static void damaged_layout(bytes *b) {
    nv_layout layout = a_layout(b);
    damage(b, (uint8_t *)&layout, sizeof layout);
    if (layout.max_taps > 1 << 16 || nv_layout_check(&layout))
        return; /* long rooms are valid, but need memory */
    int error;
    nv_kernel *kernel = nv_kernel_new(&layout, (int)take(b, 2), &error);
    if (!kernel) return;
    int taps = 1 + (int)(take(b, 2) % layout.max_taps),
        channels = layout.inputs == 2 && take(b, 1) % 2 ? 4 : 2;
    size_t size = nv_spectra_bytes(&layout, channels, taps);
    void *spectra = room(size);
    if (!an_ir(b, &layout, channels, taps, spectra, size) &&
        !nv_spectra_check(&layout, spectra, size))
        nv_kernel_load(kernel, spectra, NV_TAILS_KEEP);
    blocks(kernel, &layout, 200);
    nv_kernel_free(kernel);
    free(spectra);
}

static void damaged_spectra(bytes *b) {
    nv_layout layout = a_layout(b);
    int taps = (int)layout.max_taps, error;
    size_t size = nv_spectra_bytes(&layout, 2, taps);
    uint8_t *spectra = room(size);
    if (!an_ir(b, &layout, 2, taps, spectra, size)) {
        damage(b, spectra, take(b, 1) % 2 ? NV_SPECTRA_HEADER_BYTES : size);
        size_t shown = take(b, 1) % 4 ? size : take(b, 2) % (size + 1);
        nv_kernel *kernel = nv_kernel_new(&layout, 100, &error);
        if (!nv_spectra_check(&layout, spectra, shown))
            nv_kernel_load(kernel, spectra, (nv_tails)(take(b, 1) % 3));
        blocks(kernel, &layout, 200);
        nv_kernel_free(kernel);
    }
    free(spectra);
}

static void play(bytes *b, nv_engine *engine, int inputs, int frames, int n) {
    float in[2][NV_MAX_BLOCK], wet[2][NV_MAX_BLOCK], dry[2][NV_MAX_BLOCK], out[2][NV_MAX_BLOCK];
    for (int i = 0; i < frames; i++) in[0][i] = in[1][i] = 0.1f;
    in[inputs - 1][take(b, 1) % (uint32_t)frames] = take_float(b);
    const float *from[2] = {in[0], in[1]}, *mixed[2] = {wet[0], wet[1]};
    float *wets[2] = {wet[0], wet[1]}, *dries[2] = {dry[0], dry[1]}, *to[2] = {out[0], out[1]};
    for (; n > 0; n--) {
        nv_engine_begin(engine);
        nv_engine_process(engine, from, wets, dries);
        for (int c = 0; c < 2; c++)
            for (int i = 0; i < frames; i++) wet[c][i] += dry[c][i];
        nv_engine_finish(engine, mixed, to);
        for (int c = 0; c < 2; c++)
            for (int i = 0; i < frames; i++)
                if (!isfinite(out[c][i])) abort();
    }
}

/* A port that is damaged before it is opened; its slots and parameters are damaged again while it
 * plays. */
static void session(bytes *b, int damaged) {
    nv_layout layout = a_layout(b);
    size_t size = nv_port_bytes(&layout, 4);
    uint8_t *memory = room(size);
    nv_port *port = (nv_port *)memory;
    if (nv_port_create(memory, size, &layout, 4, 48000)) abort();
    float params[NV_PARAMS] = {
        [NV_MIX] = 0.5f,        [NV_PREDELAY_MS] = 1, [NV_LOWPASS_ON] = 1,
        [NV_LOWPASS_HZ] = 8000, [NV_HIGHPASS_ON] = 1, [NV_HIGHPASS_HZ] = 100,
        [NV_TRAILS] = 1,        [NV_LIMITER_ON] = 1,  [NV_FADE_MS] = 5,
    };
    nv_port_set_params(port, params);
    if (damaged) damage(b, memory, NV_PORT_HEADER_BYTES);
    int error;
    nv_engine *engine = port->layout.max_taps > 1 << 16 || nv_port_check(memory, size)
                            ? NULL
                            : nv_engine_new(port, &error);
    for (int step = 0; engine && step < 12; step++) {
        int slot, taps = 1 + (int)(take(b, 2) % layout.max_taps), channels = 1 << take(b, 1) % 3;
        switch (take(b, 1) % 6) {
        case 0:
            if ((slot = nv_port_begin_ir(port)) < 0) break;
            if (an_ir(b, &port->layout, channels, taps, nv_port_spectra(port, slot),
                      port->slot_bytes))
                nv_port_cancel_ir(port, slot);
            else
                nv_port_publish_ir(port, slot, channels,
                                   nv_spectra_bytes(&port->layout, channels, taps), 1);
            break;
        case 1:
            for (int i = 0; i < NV_PARAMS; i++)
                params[i] =
                    take_float(b) * (i == NV_LOWPASS_HZ || i == NV_HIGHPASS_HZ ? 20000 : 100);
            nv_port_set_params(port, params);
            break;
        case 2:
            if (damaged) damage(b, (uint8_t *)port->slot, sizeof port->slot);
            break;
        case 3:
            if (damaged) damage(b, nv_port_spectra(port, (int)take(b, 1) % NV_SLOTS),
                       NV_SPECTRA_HEADER_BYTES);
            break;
        default: break;
        }
        play(b, engine, (int)port->layout.inputs, (int)port->layout.block_frames,
             1 + (int)take(b, 1) % 60);
    }
    if (engine) nv_engine_free(engine);
    free(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bytes b = {data, data + size};
    switch (take(&b, 1) % 4) {
    case 0: damaged_layout(&b); break;
    case 1: damaged_spectra(&b); break;
    case 2: session(&b, 1); break;
    default: session(&b, 0);
    }
    return 0;
}

#ifndef LIBFUZZER
/* fuzz INPUTS SEED FINDING: generated inputs; the current one is in the file FINDING. fuzz FILE:
 * this input, to reproduce a finding. */
int main(int argc, char **argv) {
    uint8_t data[256];
    if (argc == 2) {
        FILE *file = fopen(argv[1], "rb");
        return file ? LLVMFuzzerTestOneInput(data, fread(data, 1, sizeof data, file)) : 2;
    }
    uint64_t state = 88172645463325252u + (uint64_t)atol(argv[2]);
    for (long i = 0; i < atol(argv[1]); i++) {
        for (size_t k = 0; k < sizeof data; k++) { /* xorshift (Marsaglia 2003) */
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            data[k] = (uint8_t)(state >> 24);
        }
        FILE *file = fopen(argv[3], "wb"); /* the input of a crash */
        if (file) fwrite(data, 1, sizeof data, file), fclose(file);
        LLVMFuzzerTestOneInput(data, sizeof data);
    }
    return 0;
}
#endif
