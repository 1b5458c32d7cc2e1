"""From MIDI messages to what was moved: NRPN and RPN, bank select, halves of 14 bits, presses."""

from __future__ import annotations

from typing import NamedTuple

from firmware_py.control.midi_assignment import FULL, ON, Source

HALF_S = 0.03
"""Two halves of a value belong together if no more time is between them: a cable takes 2 ms for
both, and a USB hub may hold one back."""

DATA, DATA_LOW = 6, 38
BANK, BANK_LOW = 0, 32
_ADDRESSES = {99: ("nrpn", 0), 98: ("nrpn", 1), 101: ("rpn", 0), 100: ("rpn", 1)}
ADDRESS_CCS = frozenset(_ADDRESSES)
_NO_PARAMETER = 16383


class Touch(NamedTuple):
    """A message of a source. value: 0..127; low: it is the lower half of 14 bits."""

    source: Source
    value: int
    low: bool = False
    bank: int = 0
    """Of a program: the bank that was selected before."""


class ControllerDecoder:
    """One channel of one port: remembers the parameter number and the bank that were selected."""

    def __init__(self) -> None:
        self._address: dict[str, list[int]] = {"nrpn": [127, 127], "rpn": [127, 127]}
        self._active = ""
        self._bank, self._bank_low = 0, 0

    def touches(self, message: bytes) -> list[Touch]:
        """What a channel message of three bytes says. Data of an (N)RPN are its source's, and those
        of the plain controller 6 or 38, which nobody else will have assigned."""
        number, value = message[1], message[2]
        match message[0] & 0xF0:
            case 0x90:
                return [Touch(Source("note", number), value)]
            case 0x80:
                return [Touch(Source("note", number), 0)]
            case 0xC0:
                return [Touch(Source("program", number), 127, bank=self._selected_bank())]
            case 0xB0:
                return self._controller(number, value)
        return []

    def _controller(self, cc: int, value: int) -> list[Touch]:
        touches = [Touch(Source("cc", cc), value)]
        if cc in _ADDRESSES:
            self._active, half = _ADDRESSES[cc]
            self._address[self._active][half] = value
        elif cc in (DATA, DATA_LOW) and self._active:
            high, low = self._address[self._active]
            number = high << 7 | low
            if number != _NO_PARAMETER:
                source = Source("nrpn" if self._active == "nrpn" else "rpn", number)
                touches.insert(0, Touch(source, value, low=cc == DATA_LOW))
        elif cc == BANK:
            self._bank = value
        elif cc == BANK_LOW:
            self._bank_low = value
        return touches

    def _selected_bank(self) -> int:
        """Some controllers count banks in the upper half, others in the lower one."""
        if self._bank and self._bank_low:
            return self._bank << 7 | self._bank_low
        return self._bank or self._bank_low


class Halves:
    """The value of a source whose upper and lower seven bits come apart, in either order.

    The value never steps back while the source moves one way. Upper half first: until the lower one
    comes, it counts as the end that is nearer to the old value. Lower half first: it waits for the
    upper one. A half that stays alone counts after HALF_S.
    """

    def __init__(self) -> None:
        self._high: int | None = None
        self._low = 0
        self._wide = False
        self._low_first: bool | None = None
        self._waiting: int | None = None
        """A lower half that waits for its upper one."""
        self._open = False
        """The upper half has come, and the lower one may follow."""
        self._high_at = self._low_at = -1.0
        self._low_alone = False
        self._low_before: int | None = None
        """A lower half just before the upper one: its own, if no other follows."""

    @property
    def is_wide(self) -> bool:
        """Whether a lower half has ever come."""
        return self._wide

    def _value(self) -> int:
        return min((self._high or 0) << 7 | self._low, FULL)

    def high(self, value: int, now: float) -> int:
        """The upper half has come. Returns the 14-bit value."""
        self._low_before = self._low if self._low_alone and now - self._low_at < HALF_S else None
        waiting, self._waiting = self._waiting, None
        if waiting is not None and now - self._low_at < HALF_S:
            self._low, self._low_first = waiting, True
        elif self._wide and not self._low_first and value != self._high:
            self._low = 0 if self._high is None or value > self._high else 127
            self._open = True
        self._high, self._high_at, self._low_alone = value, now, False
        return self._value()

    def low(self, value: int, now: float) -> int | None:
        """The lower half has come. Returns the 14-bit value, or None if it waits."""
        soon = now - self._high_at < HALF_S
        self._wide, self._low_at, self._low_alone = True, now, not soon
        if self._high is not None and (
            self._open or self._low_first is False or (self._low_first is None and soon)
        ):
            self._low, self._open, self._low_first = value, False, False
            return self._value()
        before, self._waiting = self._waiting, value
        if before is None or self._high is None:
            return None
        self._low = before
        return self._value()

    def due(self, now: float) -> int | None:
        """The value that a half which stayed alone gives now, or None."""
        if self._waiting is not None and self._high is not None and now - self._low_at >= HALF_S:
            self._low, self._waiting = self._waiting, None
            if self._low_first is None:
                self._low_first = False
            return self._value()
        if self._open and now - self._high_at >= HALF_S:
            self._open = False
            if self._low_before is not None:
                self._low, self._low_first = self._low_before, True
            else:
                self._low = 0  # as the standard says of an upper half alone
            return self._value()
        return None


class Presses:
    """When a value is a press: it rises to ON, or the same value comes again, as from a button that
    never sends its release. A knob that is turned above ON presses once."""

    def __init__(self) -> None:
        self._values: dict[Source, int] = {}

    def is_press(self, touch: Touch) -> bool:
        kind, value = touch.source.kind, touch.value
        if kind == "program":
            return True
        if kind == "note":
            return value > 0
        before = self._values.get(touch.source)
        self._values[touch.source] = value
        return value >= ON and (before is None or before < ON or before == value)
