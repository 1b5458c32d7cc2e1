/* Passages: which input belongs to which room, and where its spectra are. Explained in kernel.c. */
#include <math.h>
#include <string.h>

#include "kernel_spectra.h"
#include "kernel_stage.h"

void nv_fade_gains(const nv_kernel *k, int64_t block, int fade_frames, float *gain) {
    int64_t at = block * k->block;
    int pieces = k->block / NV_FADE_PIECE, i = 0;
    if (at < fade_frames) {
        double angle = M_PI / fade_frames, x = cos(angle * (double)at), y = sin(angle * (double)at),
               dx = cos(angle * NV_FADE_PIECE), dy = sin(angle * NV_FADE_PIECE);
        for (; i <= pieces && at < fade_frames; i++, at += NV_FADE_PIECE) {
            gain[i] = (float)(0.5 - 0.5 * x);
            double turned = x * dx - y * dy;
            y = x * dy + y * dx, x = turned;
        }
    }
    for (; i <= pieces; i++) gain[i] = 1.0f;
}

/* ---- energy ---------------------------------------------------------------------------------- */

/* A passage's energy is forgotten by a factor of e in half the length of the longest room: what it
 * was at most one length ago counts at least 1 / e^2. */
static const float FORGOTTEN = 7.389f;

/* Blocks whose energy is summed at once: less overhead. */
enum { TOGETHER = 4 };

/* What the energy of blocks counts at most, also if samples are not finite: sums stay finite. */
static const float MOST_ENERGY = 1e20f;

float nv_kept_energy(const nv_layout *layout) {
    return expf(-2.0f * TOGETHER * (float)layout->block_frames / (float)layout->max_taps);
}

void nv_note_energy(nv_kernel *k) {
    if (k->blocks % TOGETHER) return;
    int frames = TOGETHER * k->block;
    int64_t begin = k->blocks * k->block - frames, at = begin & (k->ring_frames - 1);
    float energy = 0;
    for (int c = 0; c < k->inputs; c++)
        energy += k->stage[0].simd->energy(k->input[c] + at, frames);
    if (!(energy < MOST_ENERGY)) energy = MOST_ENERGY; /* also NaN */
    for (int i = k->passages - 1; i >= 0; i--) {
        nv_passage *p = &k->passage[(int)k->order[i]];
        if (nv_passage_end(p) <= begin) break;
        p->energy = p->energy * k->kept + energy;
        if (energy > 0) p->middle += energy / p->energy * ((double)begin - p->middle);
    }
}

static float energy_in(const nv_kernel *k, const nv_passage *p, int room, int64_t since) {
    return room < 0 ? 0 : p->energy * nv_rest_at(k->room[room], k->blocks * k->block - since);
}

float nv_ringing(const nv_kernel *k, const nv_passage *p, int room) {
    return energy_in(k, p, room, (int64_t)p->middle);
}

float nv_most_ringing(const nv_kernel *k, const nv_passage *p) {
    int64_t end = nv_passage_end(p), noted = (k->blocks - k->blocks % TOGETHER) * k->block;
    return end > noted ? INFINITY : FORGOTTEN * energy_in(k, p, p->room, end);
}

/* ---- weights --------------------------------------------------------------------------------- */

void nv_weigh_input(nv_kernel *k) {
    const nv_passage *p = nv_newest_passage(k);
    const nv_simd *simd = k->stage[0].simd;
    int64_t now = (k->blocks - 1) * k->block, at = now & (k->ring_frames - 1);
    if (now >= p->from + p->fade_in) return;
    float gain[NV_MAX_BLOCK / NV_FADE_PIECE + 1];
    nv_fade_gains(k, (now - p->from) / k->block, k->rise_frames, gain);
    for (int c = 0; c < k->inputs; c++) {
        simd->share(k->rising[c] + at, k->falling[c] + at, k->input[c] + at, gain,
                    k->block / NV_FADE_PIECE);
    }
}

/* ---- windows --------------------------------------------------------------------------------- */

int nv_find_spare(const nv_kernel_stage *s, int64_t window, int passage) {
    for (int at = -1, seen = 0; nv_next_spare(s, &at, &seen);)
        if (s->spare[at].passage == passage && s->spare[at].window == window) return at;
    return -1;
}

/* Takes a free spare, so that in memory a newer window comes before an older one, as in the ring.
 * -1: none is free; nv_kernel_load() ensures that one is. */
static int take_spare(nv_kernel_stage *s, int64_t window, int passage) {
    for (int i = 0; i < s->spares; i++) {
        int at = s->next_spare;
        s->next_spare = at ? at - 1 : s->spares - 1;
        if (s->spare[at].passage >= 0) continue;
        s->spare[at] = (nv_spare){window, (signed char)passage};
        s->spares_used++;
        return at;
    }
    return -1;
}

/* The weight at frame `at`, and the frame before which it stays. */
static nv_weight weight_at(const nv_passage *p, int64_t at, int64_t *until) {
    if (at < p->from) return *until = p->from, NV_NOTHING;
    if (at < p->from + p->fade_in) return *until = p->from + p->fade_in, NV_RISING;
    if (at < p->to) return *until = p->to, NV_COMPLETE;
    if (at < nv_passage_end(p)) return *until = nv_passage_end(p), NV_FALLING;
    return *until = NV_FOREVER, NV_NOTHING;
}

void nv_open_window(const nv_kernel *k, nv_kernel_stage *s) {
    int64_t begin = (s->job - 1) * s->size, end = begin + s->size;
    int newest = k->passages - 1, before = s->hop_passage;
    while (newest && k->passage[(int)k->order[newest]].from >= end) newest--;
    for (int i = 0; i <= newest; i++) { /* the newest last: it replaces the spectrum in `hop` */
        int id = k->order[i], spare = -1, next = -1, was = NV_SILENCE_BEFORE;
        const nv_passage *p = &k->passage[id];
        if (nv_passage_end(p) <= begin) continue;
        if (id == before) was = NV_IN_HOP;
        if (i == newest) {
            nv_windows *of = &s->ring_of[id];
            if (of->to != s->job) of->from = s->job;
            of->to = s->job + 1;
            s->hop_passage = id;
        } else {
            if (was != NV_IN_HOP && (spare = nv_find_spare(s, s->job, id)) >= 0) was = NV_IN_SPARE;
            if (spare < 0) spare = take_spare(s, s->job, id);
            if (spare < 0 || (next = take_spare(s, s->job + 1, id)) < 0) continue;
        }
        int64_t until;
        nv_weight weight = weight_at(p, begin, &until);
        s->opened[s->openings++] = (nv_opening){.passage = *p,
                                                .spare = spare,
                                                .next_spare = next,
                                                .before = (signed char)was,
                                                .weight = until < end ? -1 : (signed char)weight};
    }
}

void nv_expire_spares(nv_kernel_stage *s) {
    int expired = 0;
    for (int at = -1, seen = 0; nv_next_spare(s, &at, &seen);)
        if (s->spare[at].window <= s->job - s->inputs_kept) s->spare[at].passage = -1, expired++;
    s->spares_used -= expired;
}

/* ---- duplicates ------------------------------------------------------------------------------ */

enum { MERGED_PAIRS = 32 }; /* in a block */

/* Where the spectrum is that a spare can be added to; NULL: nowhere. */
static float *merge_into(const nv_kernel_stage *s, int spare, int input, size_t *stride,
                         size_t *again) {
    const nv_spare *of = &s->spare[spare];
    size_t floats = 4 * (size_t)s->simd->lanes;
    if (of->window >= s->job) return NULL; /* maybe not transformed yet */
    if (of->window >= s->ring_of[of->passage].from && of->window < s->ring_of[of->passage].to) {
        int at = s->newest + (int)(s->job - of->window);
        if (at >= s->inputs_kept) at -= s->inputs_kept;
        *stride = (size_t)s->ring_partitions * floats, *again = s->again;
        return s->ring[input] + (size_t)at * floats;
    }
    *stride = (size_t)s->spares * floats, *again = 0;
    for (int at = -1, seen = 0; nv_next_spare(s, &at, &seen);)
        if (at != spare && s->spare[at].passage == of->passage && s->spare[at].window == of->window)
            return s->spare_ring[input] + (size_t)at * floats;
    return NULL;
}

/* What is added is cleared at once, so the sum of both is the same all the time. */
static void merge(nv_kernel_stage *s, int spare, int input, int from, int to) {
    size_t floats = 4 * (size_t)s->simd->lanes, stride, again;
    float *into = merge_into(s, spare, input, &stride, &again);
    float *x = s->spare_ring[input] + (size_t)spare * floats;
    for (int pair = from; pair < to; pair++) {
        float *out = into + (size_t)pair * stride, *add = x + (size_t)pair * s->spares * floats;
        s->simd->add(out, add, (int)floats);
        if (again) s->simd->add(out + again, add, (int)floats);
        memset(add, 0, floats * sizeof(float));
    }
}

void nv_merge_spares(nv_kernel_stage *s, int inputs) {
    size_t stride, again;
    int pairs = s->size / s->simd->lanes / 2;
    const nv_spare *spare = &s->spare[s->merging];
    if (!s->merged_pairs || spare->passage < 0 || spare->window != s->merging_window ||
        !merge_into(s, s->merging, 0, &stride, &again)) {
        s->merged_pairs = s->duplicates = 0;
        for (int at = -1, seen = 0; !s->duplicates && nv_next_spare(s, &at, &seen);)
            if (merge_into(s, at, 0, &stride, &again)) s->merging = at, s->duplicates = 1;
        if (!s->duplicates) return;
        s->merging_window = s->spare[s->merging].window;
    }
    int to = s->merged_pairs + MERGED_PAIRS < pairs ? s->merged_pairs + MERGED_PAIRS : pairs;
    for (int input = 0; input < inputs; input++) merge(s, s->merging, input, s->merged_pairs, to);
    s->merged_pairs = to == pairs ? 0 : to;
    if (s->merged_pairs) return;
    s->spare[s->merging].passage = -1, s->spares_used--;
    s->main.runs_changed = s->catch_up.runs_changed = 1;
}

/* ---- a passage's share ----------------------------------------------------------------------- */

static const float *frames(const nv_kernel *k, int input, int weight, int64_t at) {
    const float *ring = weight == NV_RISING    ? k->rising[input]
                        : weight == NV_FALLING ? k->falling[input]
                                               : k->input[input];
    return ring + (at & (k->ring_frames - 1));
}

const float *nv_share(const nv_kernel *k, const nv_kernel_stage *s, const nv_opening *o,
                      int input) {
    return o->weight < 0 ? s->gathered : frames(k, input, o->weight, (s->job - 1) * s->size);
}

void nv_gather(const nv_kernel *k, nv_kernel_stage *s, const nv_opening *o, int input, int from,
               int to) {
    int64_t begin = (s->job - 1) * s->size, at = begin + (int64_t)from * NV_MIN_BLOCK,
            end = begin + (int64_t)to * NV_MIN_BLOCK;
    float *out = s->gathered + from * NV_MIN_BLOCK;
    while (at < end) {
        int64_t until;
        nv_weight weight = weight_at(&o->passage, at, &until);
        if (until > end) until = end;
        const float *x = frames(k, input, weight, at);
        s->simd->subtract(out, x, weight == NV_NOTHING ? x : NULL, (int)(until - at));
        out += until - at, at = until;
    }
}

nv_target nv_target_of(const nv_kernel_stage *s, const nv_opening *o, int input) {
    size_t floats = 4 * (size_t)s->simd->lanes, spare_stride = (size_t)s->spares * floats;
    float *spares = s->spare_ring[input];
    nv_target t = {.hop = s->hop[input], .hop_stride = floats};
    if (o->before == NV_IN_HOP) t.before = t.hop, t.before_stride = floats;
    if (o->next_spare >= 0)
        t.hop = spares + (size_t)o->next_spare * floats, t.hop_stride = spare_stride;
    if (o->spare >= 0) {
        t.window = spares + (size_t)o->spare * floats, t.window_stride = spare_stride;
        if (o->before == NV_IN_SPARE) t.before = t.window, t.before_stride = spare_stride;
    } else {
        t.window = s->ring[input] + (size_t)s->newest * floats, t.again = s->again;
        t.window_stride = (size_t)s->ring_partitions * floats;
    }
    return t;
}
