"""The two modulators: they move controls around where hands have put them.

A modulated control is its value, moved by offset + depth * source along the travel of its knob. The
values of the controls stay: a turned knob moves the middle of the modulation.
"""

from __future__ import annotations

from collections.abc import Mapping

from device.controls import FREE, NOTE_BEATS, find, to_position, to_value
from device.modulation import MODULATORS, OFF, WAVES, Envelope, Lfo
from dsp._engine import Port
from firmware_py.rooms.scenes import Scenes

STEP_S = 0.01
"""Between two steps of a modulated control; the engine smooths over 20 ms."""
PEAKS_S = 0.05
"""The level of the input is the peak of at most this time: so often the meters' peaks are taken."""
LONGEST_STEP_S = 0.25
"""An oscillator stands still while the loop makes a room that takes longer."""


class Modulator:
    """One modulator, as its controls say."""

    def __init__(self, number: int) -> None:
        self._source, self._rate_hz, self._sync, self._target, self._depth, self._offset = (
            f"mod{number}_{what}"
            for what in ("source", "rate_hz", "sync", "target", "depth", "offset")
        )
        self._lfo = Lfo(number)

    def is_on(self, values: Mapping[str, float]) -> bool:
        return bool(values[self._source])

    def source(self, values: Mapping[str, float]) -> str:
        """Its name."""
        return find(self._source).choices[round(values[self._source])]

    def target(self, values: Mapping[str, float]) -> str:
        """The control that it moves."""
        return find(self._target).choices[round(values[self._target])]

    def shift(self, values: Mapping[str, float], envelope: float, seconds: float) -> float:
        """How far it moves its target, in travels, `seconds` after the last call."""
        source = self.source(values)
        if source == OFF:
            return 0.0
        if source in WAVES:
            self._lfo.advance(self._rate(values) * seconds)
            signal = self._lfo.value(source)
        elif source == "input":
            signal = envelope
        else:
            signal = to_position(find(source), values[source])
        return (values[self._offset] + values[self._depth] * signal) / 100

    def _rate(self, values: Mapping[str, float]) -> float:
        """In Hz."""
        note = find(self._sync).choices[round(values[self._sync])]
        if note == FREE:
            return values[self._rate_hz]
        return values["tempo"] / 60 / NOTE_BEATS[note]


class Modulators:
    """Both, and what they do to the values."""

    def __init__(self) -> None:
        self._all = [Modulator(number) for number in MODULATORS]
        self._envelope = Envelope()
        self._moved_at = 0.0
        self.moved: dict[str, float] = {}
        """The modulated values, by control; empty while both are off."""

    def targets(self, values: Mapping[str, float]) -> set[str]:
        """The controls that they move."""
        return {each.target(values) for each in self._all if each.is_on(values)}

    def step(
        self,
        values: Mapping[str, float],
        scenes: Scenes,
        port: Port,
        now: float,
        *,
        is_due: bool = False,
    ) -> set[str]:
        """Move on if a step is due, or with `is_due`. Returns the controls that play other values.

        values: as set. now: time.monotonic().
        """
        on = [each for each in self._all if each.is_on(values)]
        if not (on or self.moved) or not (is_due or now - self._moved_at >= STEP_S):
            return set()
        seconds = min(now - self._moved_at, LONGEST_STEP_S) if self.moved else 0.0
        self._moved_at = now
        self._envelope.follow(max(port.meters().input_peak), seconds)
        shifts: dict[str, float] = {}
        for each in on:
            target = each.target(values)
            shift = each.shift(values, self._envelope.value, seconds)
            shifts[target] = shifts.get(target, 0.0) + shift
        before, self.moved = self.moved, _moved(values, scenes, shifts)
        names = before.keys() | self.moved.keys()
        return {name for name in names if before.get(name) != self.moved.get(name)}


def _moved(
    values: Mapping[str, float], scenes: Scenes, shifts: Mapping[str, float]
) -> dict[str, float]:
    """The values of what these shifts move, in travels."""
    moved: dict[str, float] = {}
    if "morph" in shifts:  # first: it moves others, which may be moved in turn
        morph = _shifted("morph", values["morph"], shifts["morph"])
        moved = scenes.at(morph) | {"morph": morph}
    for name in shifts.keys() - {"morph"}:
        moved[name] = _shifted(name, moved.get(name, values[name]), shifts[name])
    return moved


def _shifted(name: str, value: float, shift: float) -> float:
    control = find(name)
    return to_value(control, to_position(control, value) + shift)
