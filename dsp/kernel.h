/* The convolution kernel: stereo out, mono or stereo in, any IR up to the layout's length, no added
 * latency.
 *
 * Plain C11, float32, no Python, no threads, no files. One audio thread calls process(); another
 * thread or process prepares spectra. The three parts:
 *
 *   nv_layout   how an IR is cut into partitions; plain data, the same in every process that
 *               shares spectra
 *   spectra     a transformed IR: one contiguous block of memory, in the order of processing
 *   nv_kernel   the delay line of input spectra and all work space; reads the spectra of
 *               each room that sounds
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
    NV_MAX_IR_CHANNELS = 4,
    NV_MAX_ROOMS = 7,    /* spectra that a kernel reads at most: six rooms, and one that comes */
    NV_MAX_FADE = 48000, /* frames; a longer fade is shortened to this */
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
    NV_E_BUSY = -8,     /* a change is in progress: try again on a later block */
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

/* What happens to the sound of the rooms before when a new one is loaded. */
typedef enum nv_tails {
    NV_TAILS_KEEP,   /* each input keeps its room: what rings goes on ringing in the old one */
    NV_TAILS_FOLLOW, /* all input moves to the new room: what rings is changed, too */
    NV_TAILS_CUT,    /* what rings fades out */
} nv_tails;

/* fade_frames: length of the raised-cosine fade at a change of IR. Starts silent, with no IR.
 * Returns NULL if memory runs out or the layout is damaged; *error, if not NULL, receives the
 * reason. Any thread, before audio starts. */
nv_kernel *nv_kernel_new(const nv_layout *layout, int fade_frames, int *error);
void nv_kernel_free(nv_kernel *kernel);

/* Begins the change to these spectra, at the first frame of the next block; NULL: to silence.
 *
 * With NV_TAILS_KEEP the input fades from the old room to the new one:
 *     y = h_old * (x (1 - w)) + h_new * (x w)
 * where w rises in fade_frames along a raised cosine, in straight pieces of 16 frames, the last of
 * which ends at 1. When NV_MAX_ROOMS rooms sound, one that is below -90 dB is dropped, or else the
 * input of one moves to a neighbour's room by a crossfade of the output; until it has, or for
 * longer if the latest fade is not over, a load returns NV_E_BUSY. With the other two the output
 * is crossfaded. A crossfade of the output takes up to 7680 frames (rooms of up to 147456 taps,
 * fades of up to 960 frames) and makes another one wait.
 *
 * The memory must stay unchanged while nv_kernel_reads() it. Audio thread. */
int nv_kernel_load(nv_kernel *kernel, const void *spectra, nv_tails tails);
/* NV_OK if nv_kernel_load() would accept an IR now, or NV_E_BUSY. Audio thread. */
int nv_kernel_ready(const nv_kernel *kernel, nv_tails tails);
/* 1 while the kernel reads these spectra. Audio thread. */
int nv_kernel_reads(const nv_kernel *kernel, const void *spectra);
/* 1 during a fade or a crossfade; not while an old room rings out. Audio thread. */
int nv_kernel_fading(const nv_kernel *kernel);
/* How many rooms the kernel reads. Audio thread. */
int nv_kernel_rooms(const nv_kernel *kernel);
/* Applies to the next load. Audio thread. */
void nv_kernel_set_fade(nv_kernel *kernel, int fade_frames);

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
