/* Changes of room: new passages, the schedule of a crossfade in each stage, and what is freed.
 * Explained in kernel.c. */
#include <math.h>

#include "kernel_spectra.h"
#include "kernel_stage.h"

enum { CHANGE_FRAMES = 4800 };

/* ---- rooms ----------------------------------------------------------------------------------- */

/* The stage's part of an IR. */
static nv_stage_part find_part(const nv_kernel *k, int index, const void *spectra) {
    nv_stage_part p = {0};
    const nv_spectra_header *h = spectra;
    int taps = (int)h->taps, channels = (int)h->channels;
    const float *at = (const float *)((const char *)spectra + NV_SPECTRA_HEADER_BYTES);
    for (int i = 0; i < index; i++)
        at += (size_t)channels * nv_stage_floats(&k->layout.stage[i], taps);
    size_t floats = nv_stage_floats(&k->layout.stage[index], taps);
    p.partitions = nv_stage_reached(&k->layout.stage[index], taps);
    p.together = channels == 4 || k->inputs == 1;
    for (int o = 0; o < NV_OUTPUTS; o++) {
        if (channels == 4)
            p.filter[0][o] = at + floats * (size_t)o,
            p.filter[1][o] = at + floats * (size_t)(2 + o);
        else
            p.filter[k->inputs == 1 ? 0 : o][o] = at + floats * (size_t)(channels == 2 ? o : 0);
    }
    return p;
}

static nv_passage *at(const nv_kernel *k, int index) {
    return (nv_passage *)&k->passage[(int)k->order[index]];
}

static int is_read(const nv_kernel *k, int room) {
    for (int i = 0; i < k->passages; i++)
        if (at(k, i)->room == room || at(k, i)->next_room == room) return 1;
    return 0;
}

/* Takes a free place for these spectra; -1 for silence. */
static int take_room(nv_kernel *k, const void *spectra) {
    if (!spectra) return -1;
    int room = 0;
    while (k->room[room]) room++;
    k->room[room] = spectra, k->rooms++;
    for (int i = 0; i < k->stages; i++) k->stage[i].parts[room] = find_part(k, i, spectra);
    return room;
}

static void free_rooms(nv_kernel *k) {
    for (int room = 0; room < NV_MAX_ROOMS; room++)
        if (k->room[room] && !is_read(k, room)) k->room[room] = NULL, k->rooms--;
}

int nv_kernel_rooms(const nv_kernel *k) { return k->rooms; }

int nv_kernel_reads(const nv_kernel *k, const void *spectra) {
    for (int room = 0; spectra && room < NV_MAX_ROOMS; room++)
        if (k->room[room] == spectra) return 1;
    return 0;
}

/* ---- crossfades of the output ---------------------------------------------------------------- */

/* Plans the crossfade in which passages go to their `next_room`. */
static void begin_crossfade(nv_kernel *k) {
    k->crossfade_frames = k->fade_frames;
    int64_t now = k->blocks, fade = (k->crossfade_frames + k->block - 1) / k->block,
            limit = now + CHANGE_FRAMES / k->block;
    k->fast_cost = 0;
    for (int i = 0; i < k->stages; i++) {
        nv_kernel_stage *s = &k->stage[i];
        int floats = s->early && s->blocks >= fade;
        int64_t job = (now >> s->shift) + 1;
        while (floats && (job + 1) * s->blocks + s->delay + fade <= limit) job++;
        if (s->early && !floats && 2 * (job * s->blocks - now) < s->blocks)
            job++; /* a long crossfade can start later */
        s->first_job = job;
        s->fade_from = job * s->blocks + s->delay;
        if (floats) {
            int64_t latest = s->fade_from + s->blocks - fade;
            if (latest > limit - fade) latest = limit - fade;
            if (latest > s->fade_from) s->fade_from = latest;
        }
        s->fade_to = s->fade_from + fade;
        s->changing = 1;
        if (s->early) {
            nv_plan_catch_up(k, s);
        } else {
            k->fast_until = s->fade_to,
            k->fast_cost += nv_job_cost_of(k, s, !s->side) / (float)s->blocks + s->costs->stage;
        }
    }
    k->crossfading = 1;
}

static void free_spare(nv_kernel_stage *s, int i) { s->spare[i].passage = -1, s->spares_used--; }

static void remove_passage(nv_kernel *k, int index) {
    for (int i = 0; i < k->stages; i++) k->stage[i].steady = 0; /* products may be together now */
    k->passages--;
    for (int i = index; i < k->passages; i++) k->order[i] = k->order[i + 1];
}

/* Two passages that follow one another in the same room become one. */
static void join(nv_kernel *k, int index) {
    int old = k->order[index], id = k->order[index + 1];
    nv_passage *whole = &k->passage[id], *part = &k->passage[old];
    whole->from = part->from, whole->fade_in = part->fade_in;
    whole->energy += part->energy;
    if (part->energy > 0)
        whole->middle += part->energy / whole->energy * (part->middle - whole->middle);
    for (int i = 0; i < k->stages; i++) {
        nv_kernel_stage *s = &k->stage[i];
        nv_windows *of = &s->ring_of[id], before = s->ring_of[old];
        if (of->from == of->to)
            *of = before;
        else if (before.from < before.to)
            of->from = before.from;
        for (int j = 0; s->spares_used && j < s->spares; j++) {
            nv_spare *spare = &s->spare[j];
            if (spare->passage != old && spare->passage != id) continue;
            spare->passage = (signed char)id;
        }
        if (s->hop_passage == old) s->hop_passage = id;
    }
    for (int i = 0; i < k->stages; i++) k->stage[i].duplicates = 1;
    remove_passage(k, index);
}

static void end_crossfade(nv_kernel *k) {
    for (int i = 0; i < k->stages; i++)
        if (k->stage[i].changing) return;
    for (int i = 0; i < k->stages; i++) k->stage[i].moved = 0;
    for (int i = 0; i < k->passages; i++) at(k, i)->room = at(k, i)->next_room;
    k->crossfading = 0;
    free_rooms(k);
    for (int i = 0; i + 1 < k->passages;)
        if (at(k, i)->room == at(k, i + 1)->room && at(k, i)->to == at(k, i + 1)->from)
            join(k, i);
        else
            i++;
}

/* ---- a new room ------------------------------------------------------------------------------ */

static int is_rising(const nv_kernel *k) {
    const nv_passage *newest = nv_newest_passage(k);
    return k->blocks * k->block < newest->from + newest->fade_in;
}

int nv_kernel_fading(const nv_kernel *k) { return k->crossfading || is_rising(k); }

/* 1 if each stage has spares for all windows in which fades are, and for one more fade. */
static int spares_suffice(const nv_kernel *k, int64_t from, int64_t to) {
    for (int i = 0; i < k->stages; i++) {
        const nv_kernel_stage *s = &k->stage[i];
        int64_t needed = s->spares_used;
        for (int j = 0; j < k->passages; j++) {
            const nv_passage *p = at(k, j);
            int is_newest = p->to == NV_FOREVER;
            int64_t first = (is_newest ? from : p->to) / s->size + 1,
                    end = is_newest ? to : nv_passage_end(p),
                    last = (end + s->size - 1) / s->size + 1;
            if (first <= s->job + 1)
                first = s->job + (nv_find_spare(s, s->job + 1, k->order[j]) < 0 ? 1 : 2);
            int64_t windows = last - first + 1;
            if (windows > s->inputs_kept) windows = s->inputs_kept;
            if (windows > 0) needed += windows;
        }
        if (needed > s->spares) return 0;
    }
    return 1;
}

/* Frames of a fade, in complete blocks. */
static int fade_of(const nv_kernel *k) {
    return (k->fade_frames + k->block - 1) / k->block * k->block;
}

int nv_kernel_ready(const nv_kernel *k, nv_tails tails) {
    if (is_rising(k) || k->rooms == NV_MAX_ROOMS) return NV_E_BUSY;
    if (tails != NV_TAILS_KEEP && k->crossfading) return NV_E_BUSY;
    if (tails == NV_TAILS_FOLLOW) return NV_OK;
    int64_t now = k->blocks * k->block;
    if (k->passages == NV_PASSAGES || !spares_suffice(k, now, now + fade_of(k))) return NV_E_BUSY;
    return NV_OK;
}

static void add_passage(nv_kernel *k, int room) {
    int id = 0, fade = fade_of(k);
    for (int i = 0; i < k->passages; i++)
        if (k->order[i] == id) id++, i = -1; /* the first index that is free */
    int64_t now = k->blocks * k->block;
    nv_passage *before = at(k, k->passages - 1);
    before->to = now, before->fade_out = fade;
    k->passage[id] = (nv_passage){.from = now,
                                  .to = NV_FOREVER,
                                  .fade_in = fade,
                                  .room = (signed char)room,
                                  .next_room = (signed char)room};
    k->rise_frames = k->fade_frames;
    k->order[k->passages++] = (signed char)id;
    for (int i = 0; i < k->stages; i++) k->stage[i].ring_of[id] = (nv_windows){0};
}

int nv_kernel_load(nv_kernel *k, const void *spectra, nv_tails tails) {
    int error = nv_kernel_ready(k, tails), older = k->passages;
    if (error) return error;
    int room = take_room(k, spectra);
    if (tails != NV_TAILS_FOLLOW) add_passage(k, room);
    if (tails == NV_TAILS_KEEP) return NV_OK;
    for (int i = 0; i < older; i++)
        at(k, i)->next_room = (signed char)(tails == NV_TAILS_FOLLOW ? room : -1);
    begin_crossfade(k);
    return NV_OK;
}

/* ---- what is freed --------------------------------------------------------------------------- */

/* -90 dB of full scale: no sample is louder than the square root of the energy (Cauchy and
 * Schwarz). */
static const float SILENT_ENERGY = 1e-9f;

/* 1 if none of the passage's input is within reach of its room any more. `soft`: or in work. */
static int is_silent(const nv_kernel *k, const nv_passage *p, int soft) {
    for (int i = 0; i < k->stages; i++) {
        const nv_kernel_stage *s = &k->stage[i];
        int reach = 1; /* its last window may still be in work */
        if (!soft && p->room >= 0 && s->parts[(int)p->room].partitions > reach)
            reach = s->parts[(int)p->room].partitions;
        if (!soft && p->next_room >= 0 && s->parts[(int)p->next_room].partitions > reach)
            reach = s->parts[(int)p->next_room].partitions;
        if (nv_last_window(p, s->size) + reach > s->job) return 0;
    }
    return 1;
}

static void drop(nv_kernel *k, int index) {
    int id = k->order[index];
    for (int i = 0; i < k->stages; i++) {
        nv_kernel_stage *s = &k->stage[i];
        for (int j = 0; s->spares_used && j < s->spares; j++)
            if (s->spare[j].passage == id) free_spare(s, j);
        s->main.runs_changed = s->catch_up.runs_changed = 1;
    }
    remove_passage(k, index);
    free_rooms(k);
}

/* Drops the first passage that is below -90 dB. Only if its place is needed: as long as there are
 * free ones, each room sounds to its end. */
static int drop_soft(nv_kernel *k) {
    for (int i = 0; i + 1 < k->passages; i++)
        if (nv_most_ringing(k, at(k, i)) < SILENT_ENERGY && is_silent(k, at(k, i), 1))
            return drop(k, i), 1;
    return 0;
}

typedef struct {
    int passage, target; /* to the room of this passage */
    float error;
} nv_move;

enum { MOVES = 1, IS_TARGET = 2 };

/* The room of the passage `target`; silence, if it is the passage's own. */
static int room_there(const nv_kernel *k, nv_move move) {
    int room = at(k, move.target)->room;
    return room == at(k, move.passage)->room ? -1 : room;
}

/* How much it counts that sound is replaced by other sound of the same level. */
static const float REPLACED = 0.1f;

/* The move of a passage to the room of the one before or after it that changes the sound least. */
static nv_move cheapest_move(const nv_kernel *k, const int *taken) {
    nv_move best = {-1, -1, 0};
    for (int i = 0; i + 1 < k->passages; i++) {
        const nv_passage *p = at(k, i);
        if (p->room < 0 || taken[i]) continue;
        float now = nv_ringing(k, p, p->room);
        for (int j = i + 1; j >= i - 1 && j >= 0; j -= 2) {
            nv_move move = {i, j, 0};
            float then = nv_ringing(k, p, room_there(k, move));
            move.error = fabsf(then - now) + REPLACED * (then + now);
            if (!(taken[j] & MOVES) && (best.passage < 0 || move.error < best.error)) best = move;
        }
    }
    return best;
}

/* The input of a passage moves to the room of a neighbour: of one, or of up to three passages, if
 * as many came lately. So places become free as fast as rooms come. */
static void make_place(nv_kernel *k) {
    int64_t lately = k->blocks * k->block - k->ring_frames; /* four of the largest partitions */
    int recent = 0, taken[NV_PASSAGES] = {0};
    for (int i = 0; i < k->passages; i++) recent += at(k, i)->from > lately;
    for (int moves = recent < 1 ? 1 : recent > 3 ? 3 : recent; moves > 0; moves--) {
        nv_move move = cheapest_move(k, taken);
        if (move.passage < 0) break;
        at(k, move.passage)->next_room = (signed char)room_there(k, move);
        taken[move.passage] |= MOVES, taken[move.target] |= IS_TARGET;
    }
    begin_crossfade(k);
}

void nv_tend_passages(nv_kernel *k) {
    for (int i = 0; i < k->stages; i++)
        if (k->stage[i].duplicates) nv_merge_spares(&k->stage[i], k->inputs);
    if (k->crossfading) {
        for (int i = 0; i < k->stages; i++) {
            nv_kernel_stage *s = &k->stage[i];
            if (s->changing && k->blocks + 1 >= s->fade_to)
                s->side = !s->side, s->changing = 0, s->moved = 1, s->steady = 0;
        }
        end_crossfade(k);
    }
    int looked_at = (int)(k->blocks % k->passages); /* one in a block; the newest never is silent */
    if (looked_at + 1 < k->passages && is_silent(k, at(k, looked_at), 0)) drop(k, looked_at);
    if (!k->crossfading && (k->passages == NV_PASSAGES || k->rooms == NV_MAX_ROOMS))
        if (!drop_soft(k)) make_place(k);
}
