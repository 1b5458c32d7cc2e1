"""Converter codes to knob positions, knob positions to control values.

A knob must reach both ends exactly, keep still when nobody touches it, and follow a turn at once.
`KnobFilter` has a stage for each:

    code -> median of 3 -> plausible? -> one pole -> band -> ends -> position
            clicks         loose wires   noise, hum  rest    margins

- Median of 3: removes a single wrong sample. It costs one scan (5 ms at 200 scans a second).
- Plausible: a turn from end to end takes at least FULL_TURN_S. A larger step waits for the time
  that the turn would have taken. If it ends at a rail, or if the codes keep changing direction by
  large steps, the wire is loose: the last valid position is kept and `fault` says why, until the
  codes are plausible again.
- One pole: at rest REST_S, which reduces 2 LSB of noise (10 bits, rms) and mains hum to a fraction
  of the band; in motion MOTION_S, and at once for a distance of CATCH_UP. A fast turn is late by
  the median only.
- Band (`hysteresis`): a resting knob ignores moves below 1/570 of the range. A moving knob gives
  every position. The centre of the band is the mean over the first second of rest.
- Ends: `low` and `high` are the codes of positions 0 and 1. They are inside what the pot reaches,
  by more than the band.

`nverb bench knobs` compares this with common filters.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Literal, NamedTuple

from device.controls import Control, to_position, to_value

TakeoverMode = Literal["jump", "pickup", "scale"]
TAKEOVERS: tuple[TakeoverMode, ...] = ("jump", "pickup", "scale")

# Distances are fractions of the converter's range, times are seconds.
MARGIN = 0.015
"""Distance of uncalibrated ends from the ends of the range: pots have end resistance."""
HYSTERESIS = 1.75 / 1024
WAKE = 16 / 1024
"""Distance that wakes a resting knob without the slow pole."""
CATCH_UP = 8 / 1024
REST_S = 0.5
MOTION_S = 0.015
CALM_S = 0.08
"""Pole of the average that detects rest."""
SETTLE_S, CENTRE_S = 0.3, 1.0
"""Time within the band until a knob rests, and over which the centre of the band is averaged."""
FULL_TURN_S = 0.04
STEP = 64 / 1024
"""A step that is plausible in any time."""
ROUGH = 24 / 1024
"""Steps that alternate in direction and exceed this do not come from a turn."""
RAIL = 2.5 / 1024
TURN = 8 / 1024
"""Distance that is a turn of a knob, not noise, when something else has set its control."""
STEPS_OUT = 1 / 4096
"""Smallest change of position that is reported."""


class WireFault(NamedTuple):
    """Why the filter rejects the codes of a knob."""

    reason: str
    remedy: str


_RAIL = WireFault("jumped to the end of the range", "check the pot's wires: one is off or shorted")
_NOISE = WireFault("reads noise", "check the wiper's wire; if it is on, the pot is worn")


class KnobFilter:
    """One knob. `update` takes the codes of the converter one by one, `position` is 0..1.

    full_scale: the converter's highest code. low, high: positions 0 and 1, fractions of full_scale.
    Called from one thread.
    """

    def __init__(
        self,
        full_scale: int,
        *,
        low: float = MARGIN,
        high: float = 1 - MARGIN,
        inverted: bool = False,
        hysteresis: float = HYSTERESIS,
        motion_s: float = MOTION_S,
    ) -> None:
        if not 0 <= low < high <= 1:
            raise ValueError(
                f"the ends of a knob must be 0 <= low < high <= 1, not {low:g} and {high:g}"
            )
        self.full_scale = full_scale
        self._scale = 1 / full_scale
        self._low, self._span = low, high - low
        self._inverted = inverted
        self._hysteresis = hysteresis
        self._motion_s = motion_s
        self.position: float | None = None
        """None before the third code."""
        self.fault: WireFault | None = None
        self._recent: list[float] = []  # the last two codes, fractions
        self._smooth = self._out = self._calm = self._anchor = self._mean = 0.0
        self._awake = True
        self._still_s = 0.0
        self._count = 0
        self._rough = 0.0
        self._step_before = 0.0
        self._time = self._accepted = 0.0
        self._rest_gain = self._motion_gain = self._calm_gain = self._gain_dt = 0.0
        self._steady: deque[float] = deque(maxlen=8)
        """The last outputs before the codes became implausible."""

    @property
    def reading(self) -> float | None:
        """The last code, unfiltered, as a fraction of the range; None before the second."""
        return self._recent[1] if len(self._recent) == 2 else None

    def update(self, code: int, now: float) -> bool:
        """Take a code read at `now` (seconds, any origin). True if `position` changed."""
        x = code * self._scale
        recent = self._recent
        if len(recent) < 2:
            recent.append(x)
            self._time = self._accepted = now
            return False
        before, last = recent
        recent[0], recent[1] = last, x
        dt, self._time = now - self._time, now
        if dt > FULL_TURN_S:  # after a pause, earlier codes do not count
            before = last = recent[0] = x
        # median of 3
        if before > last:
            before, last = last, before
        m = before if x < before else last if x > last else x
        if self.position is None:
            self._smooth = self._calm = self._anchor = m
            self._accepted = now
            return self._publish(m)

        if not self._rough and not self.fault:
            self._steady.append(self._out)
        self._measure_roughness(x - recent[0])
        if self._rough or self.fault:
            if self._rough > 0.3:
                return self._fail(_NOISE)
            if self.fault and not self._recovered(m):
                return False

        error = m - self._smooth
        distance = abs(error)
        if distance > STEP and distance > STEP + (now - self._accepted) / FULL_TURN_S:
            if m < RAIL or m > 1 - RAIL:
                return self._fail(_RAIL)
            return False  # wait: a click ends soon, a real step becomes plausible
        self._accepted = now
        return self._follow(m, error, dt)

    def _measure_roughness(self, step: float) -> None:
        """Steps that alternate in direction, as a disconnected input gives. 0 none, 1 all."""
        if step * self._step_before < 0 and abs(step) > ROUGH and abs(self._step_before) > ROUGH:
            self._rough += 0.1 * (1 - self._rough)
        elif self._rough:
            self._rough = self._rough * 0.9 if self._rough > 1e-3 else 0.0
        self._step_before = step

    def _follow(self, m: float, error: float, dt: float) -> bool:
        """Move the output towards a plausible input m. True if `position` changed."""
        if dt != self._gain_dt:  # scans are nearly regular, so this is rare
            self._gain_dt = dt
            self._rest_gain = -math.expm1(-dt / REST_S)
            self._motion_gain = -math.expm1(-dt / self._motion_s)
            self._calm_gain = -math.expm1(-dt / CALM_S)
        distance = abs(error)
        if not self._awake:
            if distance < WAKE:
                self._smooth += self._rest_gain * error
                if self._still_s < CENTRE_S:
                    self._average(m, dt)
                if abs(self._smooth - self._mean) < self._hysteresis:
                    return False
            self._awake = True
            self._calm = self._anchor = self._smooth
            self._still_s, self._count, self._mean = 0.0, 0, 0.0
        gain = max(self._motion_gain, distance / CATCH_UP)
        self._smooth += error * min(gain, 1.0)
        # At rest when an average with little noise has been within the band for SETTLE_S.
        self._calm += self._calm_gain * (m - self._calm)
        if abs(self._calm - self._anchor) > self._hysteresis:
            self._anchor, self._still_s, self._count, self._mean = self._calm, 0.0, 0, 0.0
        else:
            self._average(m, dt)
            if self._still_s > SETTLE_S:
                self._awake = False
                self._smooth = self._mean
        return self._publish(self._smooth)

    def _average(self, m: float, dt: float) -> None:
        """Update the centre of the band."""
        self._still_s += dt
        self._count += 1
        self._mean += (m - self._mean) / self._count

    def _publish(self, smooth: float) -> bool:
        """Set `position` from an output. True if it changed by a step that is reported."""
        self._out = smooth
        position = min(max((smooth - self._low) / self._span, 0.0), 1.0)
        if self._inverted:
            position = 1.0 - position
        old = self.position
        if old is not None and (
            position == old
            or (abs(position - old) < STEPS_OUT and 0 < position < 1 and self._awake)
        ):
            return False
        self.position = position
        return True

    def _fail(self, fault: WireFault) -> bool:
        """Return to the position before the fault. True if `position` changed."""
        if self.fault:
            return False
        self.fault = fault
        self._smooth = self._mean = self._steady[0] if self._steady else self._out
        changed = self._publish(self._smooth)
        self._awake, self._still_s = False, CENTRE_S
        return changed

    def _recovered(self, m: float) -> bool:
        at_rail = m < 4 * RAIL or m > 1 - 4 * RAIL
        if self._rough > 0.03 or (at_rail and self.fault == _RAIL):
            return False
        self.fault = None
        return True


class Takeover:
    """How a knob takes over a control that something else has moved. Positions are 0..1.

    jump: the next turn of the knob sets the control. pickup: the knob has no effect until it passes
    the control's position. scale: the control moves in proportion, so that both reach the end
    together. A move below `turn` is noise, not a turn, and sets nothing.
    """

    NEAR = 0.01
    """Closer than this counts as equal: nobody can set a knob more exactly."""

    def __init__(self, mode: TakeoverMode = "pickup", turn: float = TURN) -> None:
        if mode not in TAKEOVERS:
            raise ValueError(f"no takeover {mode!r}; there are {', '.join(TAKEOVERS)}")
        self.mode = mode
        self._turn = turn
        self._knob: float | None = None
        self._control: float | None = None  # the control's position; None: the knob's own
        self._rests = False  # the knob has not turned since something else moved the control
        self._rest: float | None = None  # where it rests; None before the first reading

    @property
    def distance(self) -> float:
        """How far the knob is from its control, signed, in travels; 0 if they agree."""
        if self._control is None or self._knob is None:
            return 0.0
        distance = self._control - self._knob
        return 0.0 if self._rests and abs(distance) < self.NEAR else distance

    def control_moved(self, position: float) -> None:
        """Something other than the knob moved the control."""
        self._control, self._rests, self._rest = position, True, self._knob

    def knob_moved(self, position: float) -> float | None:
        """The knob moved. Returns the control's new position, None if it does not change."""
        before, self._knob = self._knob, position
        control = self._control
        if control is None:
            return position
        if self._rests:
            if self._rest is None:  # the first reading is not a move
                self._rest = position
            needed = self._turn if 0 < position < 1 else self._turn / 2
            if abs(position - self._rest) < needed:
                return None
            before, self._rests = self._rest, False
            if self.mode == "jump" or abs(before - control) < self.NEAR:
                self._control = None
                return position
        assert before is not None
        if self.mode == "pickup":
            if (before - control) * (position - control) <= 0 or abs(
                position - control
            ) < self.NEAR:
                self._control = None
                return position
            return None
        if position in (0.0, 1.0):
            self._control = None
            return position
        if position > before:
            control += (1 - control) * (position - before) / (1 - before)
        elif before > 0:
            control *= position / before
        control = min(max(control, 0.0), 1.0)
        self._control = None if abs(control - position) < self.NEAR / 4 else control
        return control


class Knob:
    """A knob of the profile: filter, takeover and law."""

    def __init__(self, control: Control, position: KnobFilter, takeover: Takeover) -> None:
        self.control = control
        self.filter = position
        self.takeover = takeover

    def update(self, code: int, now: float) -> float | None:
        """Take a code of the converter. Returns the control's new value, None if unchanged."""
        if not self.filter.update(code, now):
            return None
        position = self.filter.position
        assert position is not None
        moved = self.takeover.knob_moved(position)
        return None if moved is None else to_value(self.control, moved)

    def control_moved(self, value: float) -> None:
        self.takeover.control_moved(to_position(self.control, value))
