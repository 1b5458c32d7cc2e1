"""A whole measurement: level, length, takes until one is clean, and the responses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsp.errors import UserError
from dsp.sweep import SineSweep
from firmware_py.measure.loop import Loop, TakeLost
from firmware_py.measure.plan import Plan, amplitude, find_length, find_level
from firmware_py.measure.programme import LATENCY_S, Programme
from firmware_py.measure.remarks import remarks
from firmware_py.measure.result import Measured, assembled
from firmware_py.measure.takes import Take, combined, understand

Floats = NDArray[np.float32]

QUIET_S = 0.5
LOST_TAKES, UNCLEAN_TAKES = 8, 3
"""How often a take is repeated after a lost block, and after something clicked."""


@dataclass(frozen=True)
class Wanted:
    """What is measured. Outputs that sound together are one. `reference`: which of the inputs is
    the cable. None: found."""

    outputs: tuple[tuple[int, ...], ...]
    inputs: int
    range_db: float = 65.0
    sweep_s: float | None = None
    level_db: float | None = None
    reference: int | None = None


class Measurement:
    """One measurement through a loop: `listen`, and when the loop is given back, `result`."""

    def __init__(self, loop: Loop, wanted: Wanted, say: Callable[[str], None]) -> None:
        self._loop, self._wanted, self._say = loop, wanted, say
        self._channels = 1 + max(n for group in wanted.outputs for n in group)
        self._heard = [n for n in range(wanted.inputs) if n != wanted.reference]
        self._sound_s = 0.0
        self._takes = 0
        self._told: list[str] = []
        self._found: list[tuple[int, int, Take]] = []
        self._by_cable: Take | None = None
        self._plan: Plan | None = None

    def listen(self) -> None:
        """All that sounds. Raises UserError."""
        wanted, rate_hz = self._wanted, self._loop.rate_hz
        first = wanted.outputs[0]

        def play(programme: Programme) -> list[Take]:
            recorded = self._play(programme, first)
            return [understand(recorded[n], programme, 0.2) for n in self._heard]

        if wanted.level_db is None:
            level_db, sign = find_level(play, rate_hz, wanted.range_db, self._say)
        else:
            level_db, sign = wanted.level_db, "as asked"
        sweep_s, decay_s = find_length(play, rate_hz, level_db, wanted.range_db, wanted.sweep_s)
        self._plan = plan = Plan(level_db, sign, sweep_s, decay_s)
        self._say(
            f"level {level_db:.0f} dB ({sign}); sweep of {sweep_s:.1f} s, decay of {decay_s:.1f} s"
        )
        for output, group in enumerate(wanted.outputs):
            for input, take in self._clean(plan, group).items():
                if input == wanted.reference:
                    self._by_cable = self._by_cable or take
                else:
                    self._found.append((output, self._heard.index(input), take))

    def result(self) -> Measured:
        """The responses, after `listen`."""
        assert self._plan is not None
        rate_hz = self._loop.rate_hz
        samples, paths, delay_s = assembled(self._found, self._plan, rate_hz, self._by_cable)
        told = tuple(self._told)
        measured = Measured(
            samples, rate_hz, paths, self._plan, delay_s, self._takes, self._sound_s, told
        )
        return remarks(measured, self._wanted.range_db)

    def _play(self, programme: Programme, group: tuple[int, ...]) -> Floats:
        """What comes back, (inputs, frames). Repeats what JACK lost."""
        sound = np.zeros((self._channels, programme.frames), np.float32)
        sound[list(group)] = programme.samples()
        for _ in range(LOST_TAKES):
            try:
                recorded = self._loop.take(sound)
            except TakeLost as error:
                self._say(f"{error}: again")
                self._note(f"{error}; repeated")
                continue
            finally:
                self._sound_s += programme.seconds
            return recorded
        raise UserError(
            f"JACK lost a block in {LOST_TAKES} takes: close other programs, or choose larger "
            "blocks, `nverb settings set block_frames=256`"
        )

    def _note(self, text: str) -> None:
        if text not in self._told:
            self._told.append(text)

    def _clean(self, plan: Plan, group: tuple[int, ...]) -> dict[int, Take]:
        """A take of each input without clicks; if none is, the median of all."""
        programme = Programme.of(
            SineSweep.of(self._loop.rate_hz, plan.sweep_s),
            amplitude(plan.level_db),
            quiet_s=QUIET_S,
            decay_s=plan.decay_s,
            pilots=True,
        )
        heard: list[Floats] = []
        for number in range(1, UNCLEAN_TAKES + 1):
            self._takes += 1
            recorded = self._play(programme, group)
            takes = self._understood(recorded, programme, plan)
            if any(take.clipped for take in takes.values()):
                raise UserError(
                    "the input clipped: measure again with a lower --level, or turn the input down"
                )
            clicks = sorted({at for take in takes.values() for at in take.events_s})
            if not clicks:
                return takes
            times = ", ".join(f"{at:.1f}" for at in clicks[:5])
            self._say(f"something clicked or slammed at {times} s of sweep {number}: again")
            self._note(f"something clicked or slammed at {times} s of a sweep; repeated")
            heard.append(recorded)
        self._note(
            f"each of {UNCLEAN_TAKES} sweeps was disturbed; their median is taken: measure again "
            "when it is quiet"
        )
        middle = np.stack([combined([take[n] for take in heard]) for n in range(len(heard[0]))])
        return self._understood(middle, programme, plan)

    def _understood(self, recorded: Floats, programme: Programme, plan: Plan) -> dict[int, Take]:
        """Each input by its number. The clocks are the same for all: as the loudest shows them."""
        ratios = [programme.drift(channel) for channel in recorded]
        power = [float(np.dot(channel, channel)) for channel in recorded]
        ratio = ratios[int(np.argmax(power))]
        if not math.isclose(ratio, 1.0, abs_tol=1e-7):
            self._note(f"the clocks of output and input differ by {1e6 * (1 / ratio - 1):.1f} ppm")
        return {
            number: understand(channel, programme, plan.decay_s + LATENCY_S, ratio)
            for number, channel in enumerate(recorded)
        }
