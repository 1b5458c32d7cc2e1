"""Impulse response -> energy map, the inverse of `dsp.synthesis`. NumPy only.

The spectrum is cut into the map's bands with power-complementary windows; each band's inverse
transform at its own rate gives the energy over time, which is summed over the frames. Cells and
direct sound add up to the IR's energy from the lowest band up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsp.acoustics import DIRECT_S, onset, without_noise
from dsp.energymap import DEFAULT_GRID, FLOOR_DB, EnergyMap, Grid, hz_to_erb
from dsp.errors import InvalidValue

Floats = NDArray[np.float32]

DIRECT_ABOVE_DB = 6.0
"""An IR has a direct sound if its first DIRECT_S have more energy than the next by this."""


def band_windows(
    hz: NDArray[np.float64], grid: Grid = DEFAULT_GRID
) -> list[tuple[slice, NDArray[np.float64]]]:
    """For each band the range of the ascending `hz` that it covers, and its amplitude there. The
    squares add up to 1 between the outer centres.

    The highest band includes everything above its centre. The lowest band rolls off below its
    centre: long inaudible DC and rumble are not part of a room.
    """
    erb, centre = hz_to_erb(hz), hz_to_erb(grid.centre_hz)
    step = centre[1] - centre[0]
    windows = []
    for band, place in enumerate(centre):
        first = int(np.searchsorted(erb, place - step, "right"))
        last = (
            len(hz) if band == grid.bands - 1 else int(np.searchsorted(erb, place + step, "left"))
        )
        distance = (erb[first:last] - place) / step
        if band == grid.bands - 1:
            distance = np.minimum(distance, 0.0)
        windows.append((slice(first, last), np.cos(np.pi / 2 * distance)))
    return windows


def analyse(
    ir: Floats,
    rate_hz: int,
    grid: Grid = DEFAULT_GRID,
    *,
    start: int | None = None,
    clean: bool = True,
) -> EnergyMap:
    """The map of a mono IR, float32 (taps,). `start`: its onset, detected if None. `clean`:
    subtract background noise.

    Bands beyond the rate's Nyquist frequency are at the floor. Raises InvalidValue for silence or
    more than one channel.
    """
    sound = np.asarray(ir, np.float64)
    if sound.ndim != 1 or not np.abs(sound).max(initial=0.0) > 0:
        raise InvalidValue("a map needs one channel that is not silent")
    sound = sound[onset(ir) if start is None else start :]
    pulse, has_direct = _direct_sound(sound, rate_hz)
    frames = (
        1
        << (
            int(max(len(sound) / rate_hz, grid.duration_s) * rate_hz + 0.25 * rate_hz) - 1
        ).bit_length()
    )
    hz = np.fft.rfftfreq(frames, 1 / rate_hz).astype(np.float64)
    scale = np.sqrt(2.0 / frames)  # one-sided spectrum: the squares sum to the energy
    spectrum = np.fft.rfft(sound - pulse, frames) * scale
    pulse_power = np.abs(np.fft.rfft(pulse, frames) * scale) ** 2
    length_s = frames / rate_hz
    taken_s = len(sound) / rate_hz
    edges = np.minimum(grid.frame_edge_s, taken_s)
    level, direct_energy = np.empty((grid.bands, grid.frames)), np.empty(grid.bands)
    for band, (bins, window) in enumerate(band_windows(hz, grid)):
        inside = spectrum[bins] * window
        direct_energy[band] = np.sum(pulse_power[bins] * window**2)
        if len(inside) < 2:
            level[band] = 0.0
            continue
        size = 1 << (2 * len(inside) - 1).bit_length()
        energy = np.abs(np.fft.ifft(inside, size)) ** 2 * size
        step_s = length_s / size
        taken = min(int(taken_s / step_s), size)
        # The circular transform wraps energy before the onset (from the band's window) to the end;
        # move it to the start.
        spread = int(max(taken, size - 0.2 / step_s))
        energy[0] += energy[spread:].sum()
        body = energy[:taken]
        if clean:
            body = _clean(body, step_s, float(grid.edge_hz[band + 1] - grid.edge_hz[band]))
        total = np.concatenate([[0.0], np.cumsum(body)])
        level[band] = np.diff(np.interp(edges, np.arange(len(total)) * step_s, total))
    density = level / grid.frame_s
    level_db = 10 * np.log10(np.maximum(density, 1e-30))
    floor = level_db.max() + FLOOR_DB
    direct_db = 10 * np.log10(np.maximum(direct_energy, 1e-30)).astype(np.float32)
    return EnergyMap(
        np.maximum(level_db, floor).astype(np.float32), grid, direct_db if has_direct else None
    )


def _direct_sound(sound: NDArray[np.float64], rate_hz: int) -> tuple[NDArray[np.float64], bool]:
    """The direct sound at the start, faded out; silence and False if it does not stand out."""
    direct = int(DIRECT_S * rate_hz)
    fade = np.zeros(len(sound))
    fade[:direct] = 1.0
    fade[direct : 2 * direct] = (
        0.5
        + 0.5 * np.cos(np.pi * (np.arange(direct) + 0.5) / direct)[: len(fade[direct : 2 * direct])]
    )
    first, second = np.sum(sound[:direct] ** 2), np.sum(sound[direct : 2 * direct] ** 2)
    has_direct = bool(first > second * 10 ** (DIRECT_ABOVE_DB / 10))
    return (sound * fade if has_direct else np.zeros(len(sound))), has_direct


def _clean(energy: NDArray[np.float64], step_s: float, bandwidth_hz: float) -> NDArray[np.float64]:
    """`without_noise` on blocks of 5 ms or more, its gain applied to the single samples."""
    block = max(1, int(0.005 / step_s))
    edges = np.arange(0, len(energy), block)
    blocks = np.add.reduceat(energy, edges)
    lengths = np.diff(np.append(edges, len(energy))) * step_s
    cleaned, _ = without_noise(blocks, lengths, bandwidth_hz)
    if cleaned is blocks:
        return energy
    return np.asarray(
        energy
        * np.repeat(cleaned / np.maximum(blocks, 1e-300), np.diff(np.append(edges, len(energy))))
    )
