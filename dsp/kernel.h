/* The convolution kernel: stereo out, mono or stereo in, any IR up to the layout's length, no added
 * latency.
 *
 * Plain C11, float32, no Python, no threads, no files. One audio thread calls process(); another
 * thread or process prepares spectra. The three parts:
 *
 *   nv_layout   how an IR is cut into partitions; plain data, the same in every process that
 *               shares spectra
 *   spectra     a transformed IR: one contiguous block of memory, in the order of processing
 *   nv_kernel   the delay line of input spectra and all work space; reads two sets of
 *               spectra during a crossfade
 *
 * process() guarantees: block_frames frames in and out; output frame n depends on input frame n (0
 * samples of latency); no allocation, lock, system call or wait; bounded work, spread evenly over
 * blocks; denormals cannot slow it down.
 */
#ifndef NV_KERNEL_H
#define NV_KERNEL_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

enum {
    NV_MIN_BLOCK = 16,
    NV_MAX_BLOCK = 1024,
    NV_MAX_STAGES = 8,
    NV_OUTPUTS = 2,
    NV_MAX_IR_CHANNELS = 4
};

/* Errors, as negative return values; nv_error_text() returns a message. */
enum {
    NV_OK = 0,
    NV_E_BLOCK = -1,    /* block_frames is no power of two in NV_MIN_BLOCK..NV_MAX_BLOCK */
    NV_E_TAPS = -2,     /* taps < 1 or > the layout's max_taps */
    NV_E_CHANNELS = -3, /* inputs not 1 or 2; IR channels not 1, 2 or 4, or 4 with one input */
    NV_E_LAYOUT = -4,   /* the layout is damaged or of another version */
    NV_E_SPECTRA = -5,  /* the spectra are damaged, or were prepared for another layout */
    NV_E_SIZE = -6,     /* the memory handed in is too small or not aligned to 64 bytes */
    NV_E_VALUE = -7,    /* an IR sample is NaN or infinite */
    NV_E_BUSY = -8,     /* a crossfade is in progress: try again on a later block */
    NV_E_MEMORY = -9,   /* out of memory */
};
const char *nv_error_text(int error);

/* How an IR is cut into partitions. Stage s has `partitions` partitions of `partition_frames` taps
 * each, the first at tap `offset_taps`. */
typedef struct nv_stage {
    uint32_t partition_frames, partitions, offset_taps;
} nv_stage;

typedef struct nv_layout {
    uint32_t version; /* of the layout and the spectra, both */
    uint32_t lanes;   /* floats in a SIMD vector: spectra are laid out by it */
    uint32_t block_frames, max_taps, inputs, stages;
    nv_stage stage[NV_MAX_STAGES];
} nv_layout;

/* Chooses the stages by the cost model in kernel_plan.c. Any thread. */
int nv_layout_plan(nv_layout *layout, int block_frames, int max_taps, int inputs);
/* NV_OK if `layout` (it may come from shared memory) can be used by this build on this machine. Any
 * thread. */
int nv_layout_check(const nv_layout *layout);

/* Bytes that nv_prepare writes for an IR of `taps` taps and 1, 2 or 4 channels; nondecreasing in
 * both. Any thread. */
size_t nv_spectra_bytes(const nv_layout *layout, int ir_channels, int taps);

/* Transforms an IR. Any thread but the audio thread: it allocates. ir_channels 1: the same IR to
 * both outputs' own inputs; 2: ->L, ->R (with two inputs: L->L, R->R); 4: L->L, L->R, R->L, R->R.
 * `spectra`: aligned to 64 bytes, `bytes` >= nv_spectra_bytes(). After an error the spectra are
 * invalid. */
int nv_prepare(const nv_layout *layout, const float *const *ir, int ir_channels, int taps,
               void *spectra, size_t bytes);

/* NV_OK if `spectra` are valid and made for `layout`: checks the header and every bound, but not
 * each sample. Real-time safe. */
int nv_spectra_check(const nv_layout *layout, const void *spectra, size_t bytes);

typedef struct nv_kernel nv_kernel;

/* fade_frames: length of the raised-cosine crossfade at an IR change. Starts silent, with no IR.
 * Returns NULL if memory runs out or the layout is damaged; *error, if not NULL, receives the
 * reason. Any thread, before audio starts. */
nv_kernel *nv_kernel_new(const nv_layout *layout, int fade_frames, int *error);
void nv_kernel_free(nv_kernel *kernel);

/* Begins a crossfade from the playing spectra to these; NULL fades to silence. The first taps start
 * to change at once; the last ones are changed within 4800 frames (rooms of up to 131072 taps,
 * fades of up to 960 frames). The memory must stay unchanged until neither nv_kernel_playing() nor
 * nv_kernel_incoming() returns it. NV_E_BUSY during a crossfade. Audio thread. */
int nv_kernel_load(nv_kernel *kernel, const void *spectra);
const void *nv_kernel_playing(const nv_kernel *kernel);
const void *
nv_kernel_incoming(const nv_kernel *kernel);   /* NULL unless a crossfade is in progress */
int nv_kernel_fading(const nv_kernel *kernel); /* 1 during a crossfade (also one to silence) */
void nv_kernel_set_fade(nv_kernel *kernel,
                        int fade_frames); /* applies to the next load. Audio thread. */

/* One block. in[0 .. inputs-1], out[0 .. 1]: block_frames floats each, any alignment; in and out
 * may not overlap. Input samples must be finite: others stay in the delay line for the length of
 * the IR. Audio thread. */
void nv_kernel_process(nv_kernel *kernel, const float *const *in, float *const *out);
/* Clears all input; the IR stays. Audio thread. Its time grows with the delay line: not for use
 * during play. */
void nv_kernel_reset(nv_kernel *kernel);
/* Bytes allocated by nv_kernel_new(), without spectra. */
size_t nv_kernel_bytes(const nv_kernel *kernel);

/* The build in use, chosen at run time: "avx2", "sse2", "neon", "scalar". */
const char *nv_kernel_simd(void);

#ifdef __cplusplus
}
#endif
#endif
