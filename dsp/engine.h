/* The pedal's signal path, one block at a time.
 *
 *   in -> guard -> sides -+-> x gain -> gate -> convolution -> movement -> late field
 *                         |                         -> filters, tone
 *                         |                         -> pre-delay -> x mix * level -> duck -> wet
 *                         +-> x (1 - mix) * gain * level -> dry
 *   graph: mixed = dry + wet;   finish(): guard -> mono -> DC offset -> limiter -> out, meters
 *
 * Without a room, or with overwritten spectra, the convolution's input replaces its output: neither
 * silence nor noise.
 *
 * Plain C, no Python. nv_engine_new() allocates everything; the three block calls have the
 * guarantees of kernel.h. Each change of a parameter is a ramp of NV_RAMP_MS: of amplitude for
 * gains, of log frequency for cutoffs; a new pre-delay fades from the old tap of the delay line to
 * the new one.
 */
#ifndef NV_ENGINE_H
#define NV_ENGINE_H
#include "port.h"

enum { NV_RAMP_MS = 20 };

typedef struct nv_engine nv_engine;

/* The port must outlive the engine. Uses the port's layout, rate, parameters and newest IR. NULL:
 * *error is the reason. */
nv_engine *nv_engine_new(nv_port *port, int *error);
void nv_engine_free(nv_engine *engine);

/* See sides.h. Call it when the ports have been connected. Before the first call: 0 and 0, both
 * sides as they come. Any thread, at any time: no click. */
void nv_engine_route(nv_engine *engine, int automatic_inputs, int mono_output);

/* Call before the first sample of a block is processed: takes the time. Audio thread. */
void nv_engine_begin(nv_engine *engine);
/* in: the layout's inputs; wet, dry: 2 channels each. host_frames floats each; another block than
 * the layout's is re-blocked (reblock.h). Audio thread. */
void nv_engine_process(nv_engine *engine, const float *const *in, float *const *wet,
                       float *const *dry);
/* mixed -> out, 2 channels of host_frames floats; may be the same memory. Audio thread. */
void nv_engine_finish(nv_engine *engine, const float *const *mixed, float *const *out);
#endif
