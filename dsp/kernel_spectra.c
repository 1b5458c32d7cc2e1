#include "kernel_spectra.h"

#include <stdlib.h>
#include <string.h>

#include "kernel_build.h"
#include "kernel_fft.h"

static const char SPECTRA_MAGIC[4] = "nvsp";

/* FNV-1a. */
static uint64_t fingerprint(const nv_layout *layout) {
    const unsigned char *p = (const unsigned char *)layout;
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < sizeof *layout; i++) hash = (hash ^ p[i]) * 1099511628211u;
    return hash;
}

int nv_stage_reached(const nv_stage *stage, int taps) {
    int beyond = taps - (int)stage->offset_taps, size = (int)stage->partition_frames;
    int partitions = beyond <= 0 ? 0 : (beyond + size - 1) / size;
    return partitions < (int)stage->partitions ? partitions : (int)stage->partitions;
}

size_t nv_stage_floats(const nv_stage *stage, int taps) {
    return (size_t)nv_stage_reached(stage, taps) * stage->partition_frames * 2;
}

size_t nv_spectra_bytes(const nv_layout *layout, int ir_channels, int taps) {
    size_t floats = 0;
    for (uint32_t s = 0; s < layout->stages; s++)
        floats += nv_stage_floats(&layout->stage[s], taps);
    return NV_SPECTRA_HEADER_BYTES + (size_t)ir_channels * floats * sizeof(float);
}

float nv_rest_at(const nv_spectra_header *header, int64_t taps) {
    int64_t step = header->step_taps ? taps / header->step_taps : 0;
    return taps >= header->taps || step >= NV_RESTS ? 0 : header->rest[step < 0 ? 0 : step];
}

static void find_rests(nv_spectra_header *header, const float *const *ir) {
    const nv_simd *simd = nv_best_simd();
    int taps = (int)header->taps, channels = (int)header->channels,
        step = (taps / NV_RESTS / NV_ENERGY_PIECE + 1) * NV_ENERGY_PIECE;
    double rest = 0;
    for (int n = NV_RESTS - 1; n >= 0; n--) {
        int from = n * step, frames = taps - from < step ? taps - from : step;
        for (int c = 0; frames > 0 && c < channels; c++)
            rest += simd->energy(ir[c] + from, frames);
        header->rest[n] = (float)(channels == 1 ? NV_OUTPUTS * rest : rest);
    }
    header->step_taps = (uint32_t)step;
}

static int channels_fit(const nv_layout *layout, uint32_t channels) {
    return channels == 1 || channels == 2 || (channels == 4 && layout->inputs == 2);
}

int nv_prepare(const nv_layout *layout, const float *const *ir, int ir_channels, int taps,
               void *spectra, size_t bytes) {
    int error = nv_layout_check(layout);
    if (error) return error;
    if (taps < 1 || taps > (int)layout->max_taps) return NV_E_TAPS;
    if (!channels_fit(layout, (uint32_t)ir_channels)) return NV_E_CHANNELS;
    size_t needed = nv_spectra_bytes(layout, ir_channels, taps);
    if (bytes < needed || (uintptr_t)spectra % 64) return NV_E_SIZE;
    memset(spectra, 0, NV_SPECTRA_HEADER_BYTES); /* invalid until complete */
    float *to = (float *)((char *)spectra + NV_SPECTRA_HEADER_BYTES);
    int finite = 1;
    for (uint32_t s = 0; s < layout->stages; s++) {
        const nv_stage *stage = &layout->stage[s];
        int size = (int)stage->partition_frames, partitions = nv_stage_reached(stage, taps);
        if (!partitions) continue;
        const nv_simd *simd = nv_simd_for(size);
        nv_fft fft;
        error = nv_fft_init(&fft, size, simd->lanes, NULL);
        float *work =
            nv_allocate((size_t)size * 3 * sizeof(float), NULL); /* z, a partition's taps */
        if (error || !work) {
            nv_fft_free(&fft), free(work);
            return NV_E_MEMORY;
        }
        float *z = work, *part = work + 2 * size;
        size_t floats = 4 * (size_t)simd->lanes;
        for (int c = 0; c < ir_channels; c++, to += (size_t)partitions * size * 2)
            for (int p = 0; p < partitions; p++) {
                int from = (int)stage->offset_taps + p * size,
                    frames = taps - from < size ? taps - from : size;
                finite &= simd->scale_finite(part, ir[c] + from, 1 / (float)size, frames);
                memset(part + frames, 0, (size_t)(size - frames) * sizeof(float));
                nv_target target = {.hop = to + (size_t)p * floats,
                                    .hop_stride = (size_t)partitions * floats};
                nv_fft_transform(simd, &fft, part, z, &target);
            }
        nv_fft_free(&fft), free(work);
    }
    if (!finite) return NV_E_VALUE;
    nv_spectra_header *header = spectra;
    *header = (nv_spectra_header){
        .version = layout->version,
        .channels = (uint32_t)ir_channels,
        .taps = (uint32_t)taps,
        .bytes = needed,
        .layout = fingerprint(layout),
    };
    find_rests(header, ir);
    memcpy(spectra, SPECTRA_MAGIC, sizeof SPECTRA_MAGIC);
    return NV_OK;
}

int nv_spectra_check(const nv_layout *layout, const void *spectra, size_t bytes) {
    const nv_spectra_header *h = spectra;
    if (bytes < NV_SPECTRA_HEADER_BYTES || (uintptr_t)spectra % 64) return NV_E_SIZE;
    if (memcmp(h->magic, SPECTRA_MAGIC, sizeof SPECTRA_MAGIC) || h->version != layout->version)
        return NV_E_SPECTRA;
    if (h->layout != fingerprint(layout) || !channels_fit(layout, h->channels)) return NV_E_SPECTRA;
    if (h->taps < 1 || h->taps > layout->max_taps) return NV_E_SPECTRA;
    if (h->bytes > bytes || h->bytes != nv_spectra_bytes(layout, (int)h->channels, (int)h->taps))
        return NV_E_SPECTRA;
    return NV_OK;
}
