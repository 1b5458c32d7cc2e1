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
 *       64     ..  for each stage and IR channel: the partitions that the IR reaches, as float32
 *                  [pair of vectors][partition][2 vectors: re, im, re, im]
 */
typedef struct {
    char magic[4];
    uint32_t version, channels, taps;
    uint64_t bytes, layout;
} nv_spectra_header;
enum { NV_SPECTRA_HEADER_BYTES = 64 };

/* Number of the stage's partitions that an IR of `taps` taps reaches. */
int nv_stage_reached(const nv_stage *stage, int taps);
/* Floats of these partitions' spectra, for one IR channel. */
size_t nv_stage_floats(const nv_stage *stage, int taps);
#endif
