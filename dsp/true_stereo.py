"""The IR of a room with two inputs: four paths, left to left and right, right to left and right.

Each input is a source at its own place in the room: it sounds on both sides, and its noise and
reflections are not those of the other input. NumPy only; the control process and the renderer call
it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dsp.energymap import EnergyMap
from dsp.loudness import normalise, of_map
from dsp.pulses import pulses
from dsp.synthesis import EARS_M, Synthesiser

Floats = NDArray[np.float32]


def true_stereo(
    room: EnergyMap,
    width: float,
    first: Synthesiser,
    second: Synthesiser,
    *,
    spacing_m: float = EARS_M,
) -> Floats:
    """The IR, float32 (4, taps), C-contiguous. `first`, `second`: synthesisers of the room's grid
    with different seeds, one for each input.

    The paths of an input are those of the room with a single input, 3 dB softer: each output has
    two inputs. Width, spacing and level: see
    `Synthesiser`; a direct sound is on its own side at width 1.
    """
    indirect = replace(room, direct_db=None)
    pairs = [
        first.unscaled(indirect, width, spacing_m=spacing_m),
        second.unscaled(_mirrored(indirect), width, spacing_m=spacing_m),
    ]
    ir = np.concatenate(pairs) * np.float32(np.sqrt(0.5))
    if room.direct_db is not None:
        pulse = pulses(room.direct_db[None], room.grid, first.rate_hz)[0][: ir.shape[1]]
        angle = np.pi / 4 * (1 - np.clip(width, -1, 1))
        own, other = np.cos(angle), np.sin(angle)
        gains = np.array([own, other, other, own], np.float32)
        ir[:, : len(pulse)] += gains[:, None] * pulse
    own_loudness = of_map(room, first.rate_hz, ir if room.taps else None)
    return normalise(ir, first.rate_hz, own_loudness)


def _mirrored(room: EnergyMap) -> EnergyMap:
    """The room as a source at the other side has it."""
    return replace(room, taps=room.taps.from_the_other_side()) if room.taps else room
