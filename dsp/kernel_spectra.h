/* The format of spectra: the result of nv_prepare(). */
#ifndef NV_KERNEL_SPECTRA_H
#define NV_KERNEL_SPECTRA_H
#include "kernel.h"

/* Aligned to 64 bytes, native byte order (spectra never leave the machine):
 *
 *   offset  bytes  field
 *        0      4  magic "nvsp"
 *        4      4  layout version
 *        8      4  IR channels, 1, 2 or 4
 *       12      4  taps
 *       16      8  total bytes
 *       24      8  hash of the layout
 *       32      4  taps of a step of the next field
 *       64    256  how much of the IR's energy is left after n steps: see nv_rest_at()
 *      320     ..  for each stage and IR channel: the partitions that the IR reaches, as float32
 *                  [pair of vectors][partition][2 vectors: re, im, re, im]
 */
enum { NV_RESTS = 64 };
typedef struct {
    char magic[4];
    uint32_t version, channels, taps;
    uint64_t bytes, layout;
    uint32_t step_taps, unused[7];
    float rest[NV_RESTS];
} nv_spectra_header;
enum { NV_SPECTRA_HEADER_BYTES = 320 };

/* Energy of what the IR still answers `taps` taps after a click of energy 1, on both outputs; an
 * upper limit. */
float nv_rest_at(const nv_spectra_header *header, int64_t taps);

/* Number of the stage's partitions that an IR of `taps` taps reaches. */
int nv_stage_reached(const nv_stage *stage, int taps);
/* Floats of these partitions' spectra, for one IR channel. */
size_t nv_stage_floats(const nv_stage *stage, int taps);
#endif
