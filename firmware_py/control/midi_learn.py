"""Learning: finds the source that the player means among all that comes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from device.controls import find
from device.profile import ACTIONS
from dsp.errors import InvalidValue
from firmware_py.control.midi_assignment import FULL, ON, Mode, Source, default_mode
from firmware_py.control.midi_messages import ADDRESS_CCS, DATA, DATA_LOW, Touch

LEARN_S = 30.0
REST_S = 0.3
"""A control is at rest after this time without a message of it."""
HELD_S = 1.5
"""A button that was pressed and not released within this time is a latching one. After a single
message, another control has this time to move further."""
TREMBLE = 3
"""A source that has moved no further than this was not meant."""
ONE_MESSAGE = 8
"""The travel that a single message counts as if nothing is known of its source."""
PRESS = 64
FEW_STEPS = 16
"""An encoder sends at most this many steps in a message, as far as learning knows."""


@dataclass
class Moved:
    """What a source has sent while learning."""

    before: int | None
    """Its value before, if known."""
    values: list[int] = field(default_factory=list)
    at: float = 0.0
    wide: bool = False

    @property
    def span(self) -> int:
        values = self.values if self.before is None else [self.before, *self.values]
        return max(values, default=0) - min(values, default=0)

    def encoder(self) -> Mode | None:
        """The coding if this looks like an endless encoder: small steps around its centre, the
        same ones again and again, as no knob sends them."""
        values = self.values
        again = any(a == b for a, b in itertools.pairwise(values))
        if len(values) < 3 or not again or set(values) <= {0, 127}:
            return None
        if all(0 < value <= FEW_STEPS or value >= 128 - FEW_STEPS for value in values):
            return "twos"
        if all(0 < abs(value - 64) <= FEW_STEPS for value in values):
            return "offset"
        if all(0 < value & 63 <= FEW_STEPS for value in values):
            return "sign"
        return None

    def is_button(self) -> bool:
        """Whether the values are those of a button: pressed, and perhaps released."""
        return len(set(self.values)) <= 2 and max(self.values, default=0) >= ON


class Learner:
    """Listens until one source has moved most and has come to rest."""

    def __init__(
        self, name: str, refused: set[Source], before: dict[Source, int], now: float
    ) -> None:
        """name: the control or action. refused: sources that the player did not mean. before: the
        last values of sources, as far as known."""
        self.name, self.until = name, now + LEARN_S
        self._refused, self._before = refused, before
        self._seen: dict[Source, Moved] = {}

    def take(self, touches: list[Touch], now: float) -> None:
        """What one message says."""
        parameter = touches[0].source.kind in ("nrpn", "rpn") if touches else False
        for touch in touches:
            kind, number = touch.source
            plain_part = number in ADDRESS_CCS or (parameter and number in (DATA, DATA_LOW))
            if touch.source in self._refused or (kind == "cc" and plain_part):
                continue
            moved = self._seen.setdefault(touch.source, Moved(self._before.get(touch.source)))
            moved.at = now
            if touch.low:
                moved.wide = True
                if not moved.values:
                    moved.values.append(0)
            else:
                moved.values.append(touch.value)

    def _candidates(self) -> dict[Source, Moved]:
        """The sources, with two controllers that are halves of one value as one."""
        found = dict(self._seen)
        for source, moved in self._seen.items():
            high = Source("cc", source.number - 32)
            if source.kind == "cc" and 32 <= source.number < 64 and high in found:
                del found[source]
                whole = found[high]
                found[high] = Moved(whole.before, whole.values, max(whole.at, moved.at), True)
        return found

    def _score(self, source: Source, moved: Moved) -> int:
        if source.kind == "program" or (source.kind == "note" and max(moved.values) > 0):
            return PRESS
        if len(set(moved.values)) == 1 and moved.before is None and not moved.encoder():
            return ONE_MESSAGE
        return max(moved.span, TREMBLE + len(moved.values) if moved.encoder() else 0)

    def result(self, now: float) -> tuple[Source, Mode, bool] | None:
        """The source that was meant, how it is meant, and whether it has 14 bits. None: not yet."""
        found = self._candidates()
        if not found:
            return None
        source, moved = max(found.items(), key=lambda row: (self._score(*row), row[1].at))
        if self._score(source, moved) <= TREMBLE or now - moved.at < self._rest_s(source, moved):
            return None
        return source, self._mode(source, moved), moved.wide

    def _rest_s(self, source: Source, moved: Moved) -> float:
        if source.kind not in ("cc", "note") or moved.wide:
            return REST_S
        held = moved.is_button() and moved.values[-1] >= ON
        return HELD_S if held or len(set(moved.values)) == 1 else REST_S

    def _mode(self, source: Source, moved: Moved) -> Mode:
        usual = default_mode(self.name, source)
        if source.kind != "cc" or self.name in ACTIONS:
            return usual
        if (mode := moved.encoder()) is not None and not moved.wide:
            return mode
        released = moved.is_button() and len(moved.values) > 1 and moved.values[-1] < ON
        return "toggle" if released and find(self.name).is_switch else usual


SHORTEST_TRAVEL = FULL // 4
"""A pedal that was moved less was not moved to its ends."""
STEP = 1 << 7


class Calibration:
    """The ends that an expression pedal reaches while its player moves it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._low, self._high = FULL, 0

    def take(self, value: int) -> None:
        """The pedal is at this 14-bit value."""
        self._low, self._high = min(self._low, value), max(self._high, value)

    def ends(self) -> tuple[int, int]:
        """The ends, a step of seven bits inside what was reached, so that each press reaches them.

        Raises InvalidValue if the pedal was hardly moved.
        """
        if self._high - self._low < SHORTEST_TRAVEL:
            raise InvalidValue(
                f"{self.name}: its controller was not moved from end to end; move it, try again"
            )
        low = self._low + STEP if self._low else 0
        high = self._high - STEP if self._high < FULL else FULL
        return low, high

    def json(self) -> dict[str, object]:
        moved = self._high >= self._low
        return {
            "name": self.name,
            "low": self._low >> 7 if moved else None,
            "high": self._high >> 7 if moved else None,
            "enough": self._high - self._low >= SHORTEST_TRAVEL,
        }
