"""Draws rooms: parameters of a room -> energy map, without rendering audio.

One formula serves every kind of space (`energy_maps`): a direct sound; early reflections, spaced by
the size of the room; a diffuse field that builds up and decays with one or two slopes in each band;
and a shape over time for springs, slaps and gates. A room is a point in the space of
`RoomParameters`.

`room_at` maps the three knobs to such a point by formulas chosen by hand. The starter bank is made
of it, and it defines what X, Y and Z mean to a player.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from dsp.diffuse_field import SPEED_OF_SOUND_M_S
from dsp.energymap import DEFAULT_GRID, FLOOR_DB, EnergyMap, Grid
from models.kinds import KINDS, Array, knob_values
from models.latent import LATENT_HIGH, LATENT_LOW

HELD_OUT_SEED = 1 << 32
"""Seeds from here on are for rooms to measure with; training uses lower ones."""

_REFLECTION_TIME = np.array([0.55, 0.8, 1.1, 1.35, 1.75, 2.1, 2.6, 3.2, 3.9, 4.8, 5.9, 7.3])
"""Arrival of the early reflections after the direct sound, in mean free times. The gaps are below
one, as in a box-shaped room.
"""

_REFLECTION_DB = np.array(
    [-1.0, -3.0, -2.5, -4.5, -4.0, -6.0, -5.5, -7.5, -7.0, -9.0, -10.0, -12.0]
)
"""Their energies; alternating, as strong and weak walls are."""


@dataclass(frozen=True)
class RoomParameters:
    """Rooms, one per element of each field; every field has shape (rooms,).

    | field          | unit   | range         | what                                               |
    |----------------|--------|---------------|----------------------------------------------------|
    | decay_s        | s      | 0.05 .. 12    | T60 at 1 kHz of the first slope                    |
    | bass_ratio     |        | 0.3 .. 3      | T60 at 125 Hz over T60 at 1 kHz                    |
    | treble_ratio   |        | 0.08 .. 1.5   | T60 at 8 kHz over T60 at 1 kHz                     |
    | decay_bend     | nepers | -0.4 .. 0.4   | T60 at 1 kHz higher (+) than at 63 Hz and 16 kHz   |
    | decay_wave     | nepers | -0.3 .. 0.3   | T60 higher (+) at 4 kHz, lower at 250 Hz           |
    | tilt_db        | dB/oct | -8 .. 4       | slope of the diffuse spectrum at onset; 0 at 1 kHz |
    | low_cut_hz     | Hz     | 10 .. 600     | 2nd-order high-pass of all: plates, springs, boxes |
    | high_cut_hz    | Hz     | 1500 .. 30000 | 2nd-order low-pass of all but the direct sound     |
    | size_m         | m      | 0.3 .. 60     | mean free path 4 V / S: spaces early reflections   |
    | direct_db      | dB     | -90 .. 30     | direct over diffuse energy, 1 kHz; < -60: none     |
    | early_db       | dB     | -60 .. 10     | early reflections over diffuse energy at 1 kHz     |
    | smear          |        | 0.05 .. 2     | width of a reflection over its spacing             |
    | pattern        | turns  | 0 .. 1        | shifts reflections by up to a tenth                |
    | onset_s        | s      | 0 .. 1.5      | build-up of the diffuse field, 1 - exp(-t / onset) |
    | onset_slope    |        | 0 .. 1        | build-up takes (1 kHz / f) ** slope times as long  |
    | onset_power    |        | 0.5 .. 4      | exponent of the build-up: soft (low), late (high)  |
    | late_ratio     |        | 0.2 .. 6      | T60 of the second slope over the first             |
    | late_db        | dB     | -60 .. 0      | second slope under the first at 0 s; < -50: none   |
    | echo_s         | s      | 0.01 .. 1     | period of a flutter, spring or slap echo           |
    | echo_depth     |        | 0 .. 1        | share of the diffuse energy in these echoes        |
    | dispersion_s   | s      | -0.05 .. 0.1  | delay of 4 kHz to DC at the first echo: springs +  |
    | gate_s         | s      | 0.05 .. 100   | time at which the gate closes; > 10: no gate       |
    | gate_fall_db_s | dB/s   | 50 .. 3000    | slope of the closing gate                          |
    | swell_s        | s      | 0 .. 2        | until then the level rises (reverse); 0: no swell  |
    """

    decay_s: Array
    bass_ratio: Array
    treble_ratio: Array
    decay_bend: Array
    decay_wave: Array
    tilt_db: Array
    low_cut_hz: Array
    high_cut_hz: Array
    size_m: Array
    direct_db: Array
    early_db: Array
    smear: Array
    pattern: Array
    onset_s: Array
    onset_slope: Array
    onset_power: Array
    late_ratio: Array
    late_db: Array
    echo_s: Array
    echo_depth: Array
    dispersion_s: Array
    gate_s: Array
    gate_fall_db_s: Array
    swell_s: Array

    def __len__(self) -> int:
        return len(self.decay_s)


PLAIN = {
    "decay_s": 1.0,
    "bass_ratio": 1.1,
    "treble_ratio": 0.5,
    "decay_bend": 0.0,
    "decay_wave": 0.0,
    "tilt_db": -1.5,
    "low_cut_hz": 20.0,
    "high_cut_hz": 24_000.0,
    "size_m": 6.0,
    "direct_db": -6.0,
    "early_db": -6.0,
    "smear": 0.4,
    "pattern": 0.0,
    "onset_s": 0.002,
    "onset_slope": 0.0,
    "onset_power": 1.0,
    "late_ratio": 1.0,
    "late_db": -60.0,
    "echo_s": 0.1,
    "echo_depth": 0.0,
    "dispersion_s": 0.0,
    "gate_s": 100.0,
    "gate_fall_db_s": 500.0,
    "swell_s": 0.0,
}
"""A medium room: the default of each parameter."""


def parameters(rooms: int, **values: Array) -> RoomParameters:
    """`rooms` rooms with the PLAIN parameters except `values`: numbers or arrays (rooms,)."""
    named = {
        field.name: values.get(field.name, PLAIN[field.name]) for field in fields(RoomParameters)
    }
    return RoomParameters(
        **{name: np.broadcast_to(np.asarray(value, float), rooms) for name, value in named.items()}
    )


def decay_curve_s(room: RoomParameters, grid: Grid = DEFAULT_GRID) -> Array:
    """T60 of the first slope in each band, shape (rooms, bands), seconds.

    log T60 over octaves is two straight lines that meet at 1 kHz, through 125 Hz below and 8 kHz
    above, with the corner rounded over an octave; plus one period of cosine (`decay_bend`) and of
    sine (`decay_wave`) over eight octaves.
    """
    octave = np.log2(grid.centre_hz / 1000.0)
    below, above = _soft_ramp(-octave) / 3.0, _soft_ramp(octave) / 3.0
    bend = np.cos(np.pi * np.clip(octave / 4.0, -1.0, 1.0))
    log_ratio = (
        np.log(room.bass_ratio)[:, None] * below
        + np.log(room.treble_ratio)[:, None] * above
        + room.decay_bend[:, None] * (bend - 1.0)
        + room.decay_wave[:, None] * np.sin(np.pi / 4.0 * np.clip(octave, -4.0, 4.0))
    )
    return np.asarray(room.decay_s[:, None] * np.exp(log_ratio))


def _soft_ramp(octaves: Array) -> Array:
    """max(octaves, 0) with the corner rounded over an octave, from -0.5 to 0.5."""
    return np.where(
        octaves > 0.5, octaves, np.where(octaves < -0.5, 0.0, 0.5 * (octaves + 0.5) ** 2)
    )


def energy_maps(
    room: RoomParameters, grid: Grid = DEFAULT_GRID
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Energy maps of rooms: level_db (rooms, bands, frames), direct_db (rooms, bands), float32.

    Levels as in `EnergyMap`. The energy of each room, direct sound included, is 0 dB. The lowest
    level is FLOOR_DB under the room's loudest cell. Without direct sound, direct_db is FLOOR_DB or
    less.
    """
    edge, centre, length = grid.frame_edge_s, grid.frame_centre_s, grid.frame_s
    octave = np.log2(grid.centre_hz / 1000.0)
    bandwidth = np.diff(grid.edge_hz)
    middle = int(np.argmin(np.abs(octave)))

    def per_band(values: Array) -> Array:
        return values[:, None]

    low = 1.0 / (1.0 + (per_band(room.low_cut_hz) / grid.centre_hz) ** 4)
    high = 1.0 / (1.0 + (grid.centre_hz / per_band(room.high_cut_hz)) ** 4)
    spectrum = bandwidth * low * high * 10.0 ** (per_band(room.tilt_db) * octave / 10.0)

    decay = decay_curve_s(room, grid)
    first = _decay(decay, edge, length)
    diffuse = first
    if (room.late_db > -50.0).any():
        late = _decay(decay * per_band(room.late_ratio), edge, length)
        diffuse = first + 10.0 ** (room.late_db / 10.0)[:, None, None] * late
    diffuse = diffuse * spectrum[:, :, None] * _shape(room, grid)

    tail = (diffuse[:, middle] * length).sum(
        axis=1
    )  # (rooms,), energy at 1 kHz: the reference of direct and early levels
    flat = bandwidth * low / (bandwidth * low)[:, middle, None]
    direct = per_band(tail * 10.0 ** (room.direct_db / 10.0)) * flat
    direct = np.where(per_band(room.direct_db) > -60.0, direct, 0.0)

    # The walls absorb from a reflection at the same rate as from the diffuse field.
    colour = per_band(tail * 10.0 ** (room.early_db / 10.0)) * spectrum / spectrum[:, middle, None]
    energy = diffuse + colour[:, :, None] * _reflections(room, grid)[:, None, :] * first
    energy *= _gate_and_swell(room, centre)[:, None, :]

    total = (energy * length).sum(axis=(1, 2)) + direct.sum(axis=1)
    level_db = _db(energy / total[:, None, None])
    level_db = np.maximum(level_db, level_db.max(axis=(1, 2), keepdims=True) + FLOOR_DB)
    direct_db = np.maximum(_db(direct / total[:, None]), FLOOR_DB)
    return level_db.astype(np.float32), direct_db.astype(np.float32)


def _db(energy: Array) -> Array:
    return np.asarray(10.0 * np.log10(np.maximum(energy, 1e-40)))


def _decay(decay_s: Array, edge_s: Array, length_s: Array) -> Array:
    """Mean of exp(-k t) in each frame, k = ln(10^6) / T60: shape (rooms, bands, frames)."""
    rate = np.log(1e6) / decay_s[:, :, None]
    return np.asarray(-np.diff(np.exp(-rate * edge_s), axis=2) / (rate * length_s))


def _shape(room: RoomParameters, grid: Grid) -> Array:
    """Build-up, echoes and dispersion as a factor of the diffuse field.

    Shape (rooms, 1 or bands, frames).
    """
    time = grid.frame_centre_s
    octave = np.log2(grid.centre_hz / 1000.0)
    onset_s = np.maximum(room.onset_s, 1e-4)[:, None]
    if (room.onset_slope > 0.0).any():
        onset_s = onset_s * 2.0 ** (-room.onset_slope[:, None] * octave)
    onset = (-np.expm1(-time / onset_s[:, :, None])) ** room.onset_power[:, None, None]
    if not (room.echo_depth > 0.0).any():
        return np.asarray(onset)
    # Echoes: a cosine to the 8th power with a mean of 1. They blur where frames outlast the
    # period.
    delay = room.dispersion_s[:, None] * np.minimum(grid.centre_hz / 4000.0, 1.5) ** 2
    turn = (time[None, None, :] - delay[:, :, None]) / room.echo_s[:, None, None]
    pulse = np.cos(np.pi * turn) ** 8 / 0.2734375
    blur = (
        np.clip(1.0 - 1.5 * grid.frame_s / room.echo_s[:, None], 0.0, 1.0)
        * room.echo_depth[:, None]
    )
    # A dispersing spring spreads the pulse more at each passage.
    spread = np.exp(-np.abs(room.dispersion_s / room.echo_s)[:, None] * time / room.echo_s[:, None])
    depth = (blur * spread)[:, None, :]
    return np.asarray(onset * (1.0 - depth + depth * pulse))


def _reflections(room: RoomParameters, grid: Grid) -> Array:
    """Early reflections of unit total energy, as energy per second in each frame.

    Shape (rooms, frames). Each reflection is a triangle over time, so it moves smoothly between
    frames as the size changes.
    """
    number = np.arange(len(_REFLECTION_TIME))
    wander = 1.0 + 0.1 * np.sin(2.0 * np.pi * (room.pattern[:, None] + 0.382 * number))
    mean_free_s = room.size_m[:, None] / SPEED_OF_SOUND_M_S
    arrival = _REFLECTION_TIME * wander * mean_free_s
    width = np.maximum(room.smear[:, None] * arrival / (1.0 + 0.5 * number), 1e-3)
    energy = 10.0 ** (_REFLECTION_DB / 10.0)
    energy = energy / energy.sum()
    steps = (grid.frame_edge_s[None, None, :] - arrival[:, :, None]) / width[:, :, None]
    inside = np.clip(steps, -1.0, 1.0)
    integral = 0.5 + inside - 0.5 * inside * np.abs(inside)
    arrived = np.einsum("k,nkf->nf", energy, integral - integral[:, :, :1])
    return np.asarray(np.diff(arrived, axis=1) / grid.frame_s)


def _gate_and_swell(room: RoomParameters, time: Array) -> Array:
    """A factor of everything but the direct sound, shape (rooms, frames)."""
    fall_db = np.maximum(time - room.gate_s[:, None], 0.0) * room.gate_fall_db_s[:, None]
    rise_s = room.swell_s[:, None]
    # Rises at twice the room's decay rate, so that the fall at 1 kHz becomes its mirror image.
    rise_db = np.minimum(time - rise_s, 0.0) * 120.0 / room.decay_s[:, None]
    return np.asarray(10.0 ** ((rise_db - fall_db) / 10.0))


def draw(rooms: int, seed: int, kind: str | None = None) -> RoomParameters:
    """`rooms` random rooms of one kind, or of all kinds in their shares, shuffled.

    The same arguments give the same rooms. Raises ValueError for an unknown kind.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"unknown kind of room {kind!r}; known kinds: {', '.join(KINDS)}")
    random = np.random.default_rng(seed)
    names = list(KINDS) if kind is None else [kind]
    share = np.array([KINDS[name][1] for name in names]) if kind is None else np.ones(1)
    counts = np.bincount(
        random.choice(len(names), rooms, p=share / share.sum()), minlength=len(names)
    )
    drawn = [
        parameters(int(n), **KINDS[name][0](random, int(n)))
        for name, n in zip(names, counts, strict=True)
        if n
    ]
    order = random.permutation(rooms)
    return RoomParameters(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in drawn])[order]
            for field in fields(RoomParameters)
        }
    )


def room_at(x: float, y: float, z: float) -> EnergyMap:
    """The starter room at a point of the knobs' cube: smooth in each coordinate.

    T60 at 1 kHz is 5 ** (x / 2) s: 0.2 .. 5 s; y raises the treble's decay and the spectrum's tilt;
    z turns direct sound and sparse reflections into a dense field that swells. Coordinates are
    clamped to -2 .. 2. Used to build the starter bank.
    """
    point = np.clip([[x], [y], [z]], LATENT_LOW, LATENT_HIGH)
    level_db, direct_db = energy_maps(parameters(1, **knob_values(*point)))
    return EnergyMap(level_db[0], DEFAULT_GRID, direct_db[0])
