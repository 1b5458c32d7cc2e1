"""From the codes of a converter to where a knob stands, and from there to a control's value.

What a knob must do pulls three ways: reach both ends exactly, stand still when nobody touches it, and follow a hand
at once. `KnobFilter` gives each its own means:

    code -> median of 3 -> plausible? -> one pole: slow at rest, fast in motion -> at rest, a band that must be left
    -> ends
            (clicks)      (loose wires)        (noise, hum)                        (stillness)
            (margins)

- Median of 3: one wrong sample never passes. It costs one scan (5 ms at 200 scans a second).
- Plausible: no hand turns faster than FULL_TURN_S. A step beyond that waits until the time it would have taken is over; if it
  ends on a rail, or the codes keep turning round by large steps, the wire is loose: the last good position holds and
  `fault` says what is seen, until the codes make sense again.
- At rest the pole has REST_S, long enough to take 2 LSB (10 bits, rms) and mains hum to well inside the band; in motion it has
  MOTION_S, and a distance of CATCH_UP from the input makes it jump there. So a fast turn is late by the median alone.
- The band (`hysteresis`) is 1/570 of the range: smaller moves than that are noise. It only wakes a resting knob; a moving one
  gives every position between. Its centre is the mean over the first second of rest.
- Ends: `low` and `high` are the codes that count as 0 and 1, inside what the pot reaches by more than the band.

`nverb bench knobs` measures this beside the usual filters.
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
"""How far inside the converter's range the ends lie where nothing was calibrated: pots have end resistance."""
HYSTERESIS = 1.75 / 1024
WAKE = 16 / 1024
CATCH_UP = 8 / 1024
REST_S = 0.5
MOTION_S = 0.015
CALM_S = 0.08
SETTLE_S, CENTRE_S = 0.3, 1.0
FULL_TURN_S = 0.04
STEP = 64 / 1024
"""A step that is plausible however short the time."""
ROUGH = 24 / 1024
"""Steps to and fro larger than this are no hand's."""
RAIL = 2.5 / 1024
STEPS_OUT = 1 / 4096
"""Smallest change of position that is told."""


class WireFault(NamedTuple):
    """Why the filter rejects the codes of a knob."""

    reason: str
    remedy: str


_RAIL = WireFault("jumped to the end of the range", "check the pot's wires: one is off or shorted")
_NOISE = WireFault("reads noise", "check the wiper's wire; if it is on, the pot is worn")


class KnobFilter:
    """One knob. `update` takes each code of the converter in turn; `position` is the answer, 0..1.

    full_scale: the converter's highest code. low, high: fractions of full_scale that count as the ends. Called from
    one thread.
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
        """None until three codes have come."""
        self.fault: WireFault | None = None
        self._recent: list[float] = []  # the last two inputs, then the filter's states
        self._smooth = self._out = self._calm = self._anchor = self._mean = 0.0
        self._awake = True
        self._still_s = 0.0
        self._count = 0
        self._rough = 0.0
        self._step_before = 0.0
        self._time = self._accepted = 0.0
        self._rest_gain = self._motion_gain = self._calm_gain = self._gain_dt = 0.0
        self._steady: deque[float] = deque(
            maxlen=8
        )  # outputs of the last scans before any that no hand makes

    @property
    def reading(self) -> float | None:
        """The last code as a fraction of the range, before any filter; None before the first two."""
        return self._recent[1] if len(self._recent) == 2 else None

    def update(self, code: int, now: float) -> bool:
        """Takes a code read at `now` (seconds, any origin). True if `position` has changed."""
        x = code * self._scale
        recent = self._recent
        if len(recent) < 2:
            recent.append(x)
            self._time = self._accepted = now
            return False
        before, last = recent
        recent[0], recent[1] = last, x
        dt, self._time = now - self._time, now
        if dt > FULL_TURN_S:  # after a pause what was read before says nothing
            before = last = recent[0] = x
        # median of 3
        if before > last:
            before, last = last, before
        m = before if x < before else last if x > last else x
        if self.position is None:
            self._smooth = self._calm = self._anchor = m
            self._accepted = now
            return self._tell(m)

        if not self._rough and not self.fault:
            self._steady.append(self._out)
        # Steps to and fro that no hand makes: a wire in the air.
        step = x - recent[0]
        if step * self._step_before < 0 and abs(step) > ROUGH and abs(self._step_before) > ROUGH:
            self._rough += 0.1 * (1 - self._rough)
        elif self._rough:
            self._rough = self._rough * 0.9 if self._rough > 1e-3 else 0.0
        self._step_before = step
        if self._rough or self.fault:
            if self._rough > 0.3:
                return self._fail(_NOISE)
            if self.fault and not self._well_again(m):
                return False

        error = m - self._smooth
        distance = abs(error)
        if distance > STEP and distance > STEP + (now - self._accepted) / FULL_TURN_S:
            if m < RAIL or m > 1 - RAIL:
                return self._fail(_RAIL)
            return False  # wait: a click is soon over, a true step is soon plausible
        self._accepted = now

        if (
            dt != self._gain_dt
        ):  # scans are nearly regular: the exponentials are seldom worked out anew
            self._gain_dt = dt
            self._rest_gain = -math.expm1(-dt / REST_S)
            self._motion_gain = -math.expm1(-dt / self._motion_s)
            self._calm_gain = -math.expm1(-dt / CALM_S)
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
        # At rest when an average that the noise hardly moves has stayed within the band for a while.
        self._calm += self._calm_gain * (m - self._calm)
        if abs(self._calm - self._anchor) > self._hysteresis:
            self._anchor, self._still_s, self._count, self._mean = self._calm, 0.0, 0, 0.0
        else:
            self._average(m, dt)
            if self._still_s > SETTLE_S:
                self._awake = False
                self._smooth = self._mean
        return self._tell(self._smooth)

    def _average(self, m: float, dt: float) -> None:
        """Where the knob has come to rest: the centre of the band."""
        self._still_s += dt
        self._count += 1
        self._mean += (m - self._mean) / self._count

    def _tell(self, smooth: float) -> bool:
        self._out = smooth
        position = min(max((smooth - self._low) / self._span, 0.0), 1.0)
        if self._inverted:
            position = 1.0 - position
        told = self.position
        if told is not None and (
            position == told
            or (abs(position - told) < STEPS_OUT and 0 < position < 1 and self._awake)
        ):
            return False
        self.position = position
        return True

    def _fail(self, what: WireFault) -> bool:
        """Goes back to where the knob was before it went wrong."""
        if self.fault:
            return False
        self.fault = what
        self._smooth = self._mean = self._steady[0] if self._steady else self._out
        changed = self._tell(self._smooth)
        self._awake, self._still_s = False, CENTRE_S
        return changed

    def _well_again(self, m: float) -> bool:
        at_rail = m < 4 * RAIL or m > 1 - 4 * RAIL
        if self._rough > 0.03 or (at_rail and self.fault == _RAIL):
            return False
        self.fault = None
        return True


class Takeover:
    """What happens when a knob and its control stand apart, because a preset, MIDI or a command has moved the control.

    jump: the knob's next move sets the control. pickup: the knob does nothing until it has passed the control's
    position. scale: the control moves in proportion, so that both arrive at the end together. Positions are 0..1.
    """

    NEAR = 0.01
    """Closer than this counts as met: a hand cannot stop any closer."""

    def __init__(self, mode: TakeoverMode = "pickup") -> None:
        if mode not in TAKEOVERS:
            raise ValueError(f"no takeover {mode!r}; there are {', '.join(TAKEOVERS)}")
        self.mode = mode
        self._knob: float | None = None
        self._control: float | None = None  # where the control stands; None: the knob holds it

    @property
    def distance(self) -> float:
        """How far the knob has to go to meet its control, signed, in travels; 0 when they are together."""
        if self._control is None or self._knob is None:
            return 0.0
        return self._control - self._knob

    def control_moved(self, position: float) -> None:
        """Somebody else has moved the control."""
        self._control = position
        if self._knob is not None and abs(position - self._knob) < self.NEAR:
            self._control = None

    def knob_moved(self, position: float) -> float | None:
        """The knob has moved: where the control goes, or None if it stays."""
        before, self._knob = self._knob, position
        control = self._control
        if control is None:
            return position
        if before is None:  # the first reading is no movement
            if abs(position - control) < self.NEAR:
                self._control = None
            return None
        if self.mode == "jump":
            self._control = None
            return position
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
    """A row of the profile at work: filter, takeover and law."""

    def __init__(self, control: Control, position: KnobFilter, takeover: Takeover) -> None:
        self.control = control
        self.filter = position
        self.takeover = takeover

    def update(self, code: int, now: float) -> float | None:
        """Takes a code of the converter. The control's new value, or None if it stays."""
        if not self.filter.update(code, now):
            return None
        position = self.filter.position
        assert position is not None
        moved = self.takeover.knob_moved(position)
        return None if moved is None else to_value(self.control, moved)

    def control_moved(self, value: float) -> None:
        self.takeover.control_moved(to_position(self.control, value))
