"""The level and the length of a measurement, found by short sweeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dsp.acoustics import measure
from dsp.errors import UserError
from dsp.sweep import SineSweep
from firmware_py.measure.programme import Programme
from firmware_py.measure.takes import Take

Play = Callable[[Programme], Sequence[Take]]
"""Plays a programme and returns a take for each input."""

FIRST_DB, STEP_DB, HIGHEST_DB = -60.0, 6.0, -3.0
"""Levels of the sweep, dB of full scale: it begins hardly audible."""
BELOW_DB = 12.0
"""The level stays this far below the first sign of too much."""
MOST_PEAK_DB, MOST_THD = -1.0, 0.03
"""Signs of too much: the peak that comes back, all harmonics together."""
HEARD_DB, ENOUGH_DB = 20.0, 10.0
"""HEARD_DB: range with which something came back. ENOUGH_DB: so much more range than wanted, with
the sweep that will be played, is loud enough."""
STEP_S, STEP_DECAY_S = 0.35, 0.15
LONGEST_DECAY_S, SHORTEST_DECAY_S = 10.0, 0.2
PROBE_S, PROBE_DECAYS_S = 1.5, (2.5, LONGEST_DECAY_S)
"""A decay that has not ended after the first time is probed for the second."""
LATE_SHARE = 0.8
SHORTEST_S, USUAL_S, LONGEST_S = 1.5, 12.0, 30.0
MARGIN_DB = 3.0
DECAYS = 5.0
"""A sweep is so many times longer than the decay: orders of distortion stay apart."""


@dataclass(frozen=True)
class Plan:
    """level_db: of the sweep. sign: what limited it. sweep_s, decay_s: of the takes to come."""

    level_db: float
    sign: str
    sweep_s: float
    decay_s: float


def amplitude(level_db: float) -> float:
    return 10 ** (level_db / 20)


def find_level(
    play: Play, rate_hz: int, wanted_db: float, say: Callable[[str], None]
) -> tuple[float, str]:
    """The level in dB, and what limited it. Raises UserError if nothing comes back."""
    sweep = SineSweep.of(rate_hz, STEP_S)
    gained_db = 10 * math.log10(USUAL_S / STEP_S)
    level_db, best_db = FIRST_DB, -math.inf
    while True:
        programme = Programme.of(
            sweep, amplitude(level_db), quiet_s=0.1, decay_s=STEP_DECAY_S, pilots=False
        )
        takes = play(programme)
        best_db = max(take.range_db for take in takes)
        say(f"level {level_db:.0f} dB: range {best_db:.0f} dB")
        sign = next(filter(None, (_sign(take) for take in takes)), "")
        if sign:
            lower = max(level_db - BELOW_DB, FIRST_DB)
            return lower, f"{BELOW_DB:.0f} dB below {level_db:.0f} dB, where {sign}"
        if best_db + gained_db > wanted_db + ENOUGH_DB and best_db > HEARD_DB:
            return level_db, "loud enough"
        if level_db >= HIGHEST_DB:
            break
        level_db = min(level_db + (STEP_DB if best_db > HEARD_DB else 2 * STEP_DB), HIGHEST_DB)
    if best_db < HEARD_DB:
        raise UserError(
            "nothing comes back: are output, loudspeaker, microphone and input connected and "
            "turned up? `nverb card` shows the mixer, --inputs and --outputs name other ports"
        )
    return level_db, "the highest that is played"


def _sign(take: Take) -> str:
    """Why this is too loud; "" if it is not."""
    if take.clipped or take.peak > amplitude(MOST_PEAK_DB):
        return "the input clipped"
    thd = take.distortion.thd
    if thd > MOST_THD and take.distortion.floor < thd / 4 and take.range_db > HEARD_DB:
        return f"harmonics reached {100 * thd:.1f} %"
    return ""


def find_length(
    play: Play, rate_hz: int, level_db: float, wanted_db: float, asked_s: float | None
) -> tuple[float, float]:
    """Lengths of the sweep and of the decay to record, s. `asked_s`: of the sweep, if known."""
    probe_s = min(PROBE_S, asked_s or PROBE_S)
    takes: Sequence[Take] = ()
    decay_s = math.inf
    for probed_s in PROBE_DECAYS_S:
        programme = Programme.of(
            SineSweep.of(rate_hz, probe_s),
            amplitude(level_db),
            quiet_s=0.1,
            decay_s=probed_s,
            pilots=False,
        )
        takes = play(programme)
        decay_s = max(decay_of(take, wanted_db, probed_s) for take in takes)
        if decay_s < math.inf:
            break
    decay_s = min(max(decay_s, SHORTEST_DECAY_S), LONGEST_DECAY_S)
    if asked_s is not None:
        return asked_s, decay_s
    missing_db = wanted_db + MARGIN_DB - min(take.range_db for take in takes)
    sweep_s = max(probe_s * 10 ** (missing_db / 10), DECAYS * decay_s, SHORTEST_S)
    return min(sweep_s, LONGEST_S), decay_s


def decay_of(take: Take, wanted_db: float, probed_s: float) -> float:
    """The time in which the slowest octave falls by the range, as far as it can be told; infinite
    if one goes on above its noise after `probed_s`."""
    rate_hz = take.response.sweep.rate_hz
    ir = take.response.part(take.arrival, rate_hz // 200, round(probed_s * rate_hz))
    times = measure(ir.astype(np.float32), rate_hz, noise=take.response.noise(rate_hz))
    goes_on = np.isnan(times.range_db)
    # A curve falls at its very end in any case: integration ends there.
    late = round(LATE_SHARE * times.curve_db.shape[1])
    if (times.curve_db[goes_on, late] > -wanted_db).any():
        return math.inf
    known = times.t30_s[goes_on | (times.range_db > 30)]
    decay_s = float(np.nanmax(known, initial=0.0)) if np.isfinite(known).any() else probed_s
    return 1.1 * decay_s * wanted_db / 60
