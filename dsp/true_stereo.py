"""The IR of a room with two inputs: four paths, left to left and right, right to left and right.

Each input is a source at its own place in the room: it sounds on both sides, and its noise and
reflections are not those of the other input. NumPy only; the control process and the renderer call
it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dsp.diffuse_field import EARS_M
from dsp.energymap import EnergyMap
from dsp.latefield import Decay, Seam
from dsp.loudness import normalise, of_map
from dsp.pulses import pulses
from dsp.synthesis import Synthesiser, at_seam

Floats = NDArray[np.float32]


class TrueStereo:
    """Makes rooms as `Synthesiser` does, for two sources.

    The paths of an input are those of the room with a single input, 3 dB softer: each output has
    two inputs. Width, spacing and level: see `Synthesiser`; a direct sound is on its own side at
    width 1.
    """

    def __init__(self, first: Synthesiser, second: Synthesiser) -> None:
        """Synthesisers of the rooms' grid with different seeds, one for each input."""
        self._first, self._second = first, second

    def __call__(self, room: EnergyMap, width: float, *, spacing_m: float = EARS_M) -> Floats:
        """The IR, float32 (4, taps), C-contiguous."""
        first, second = _of_inputs(room)
        pairs = [
            self._first.unscaled(first, width, spacing_m=spacing_m),
            self._second.unscaled(second, width, spacing_m=spacing_m),
        ]
        ir = self._joined(pairs, room, width)
        own_loudness = of_map(room, self._first.rate_hz, ir if room.taps else None)
        return normalise(ir, self._first.rate_hz, own_loudness)

    def until(
        self, room: EnergyMap, width: float, seam: Seam, *, spacing_m: float = EARS_M
    ) -> tuple[Floats, Decay] | None:
        """See `Synthesiser.until`; the IR is (4, taps)."""
        whole = self._first.lasting(room, seam)
        if whole is None:
            return None
        first, second = _of_inputs(whole)
        pairs = [
            self._first.unscaled_until(first, width, seam, spacing_m=spacing_m),
            self._second.unscaled_until(second, width, seam, spacing_m=spacing_m),
        ]
        return at_seam(self._joined(pairs, whole, width), whole, seam, self._first.rate_hz)

    def _joined(self, pairs: list[Floats], room: EnergyMap, width: float) -> Floats:
        ir = np.concatenate(pairs) * np.float32(np.sqrt(0.5))
        if room.direct_db is not None:
            pulse = pulses(room.direct_db[None], room.grid, self._first.rate_hz)[0]
            pulse = pulse[: ir.shape[1]]
            angle = np.pi / 4 * (1 - np.clip(width, -1, 1))
            own, other = np.cos(angle), np.sin(angle)
            gains = np.array([own, other, other, own], np.float32)
            ir[:, : len(pulse)] += gains[:, None] * pulse
        return ir


def _of_inputs(room: EnergyMap) -> tuple[EnergyMap, EnergyMap]:
    """The room without its direct sound, as the two sources have it."""
    indirect = replace(room, direct_db=None)
    return indirect, _mirrored(indirect)


def _mirrored(room: EnergyMap) -> EnergyMap:
    """The room as a source at the other side has it."""
    return replace(room, taps=room.taps.from_the_other_side()) if room.taps else room
