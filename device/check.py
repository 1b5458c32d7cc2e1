"""Checks the wiring of a board: measures its inputs, reports what is wrong and what to do.

For `nverb board check` and `nverb board calibrate`. A check has two parts: at rest (noise, loose
wires and missing chips show without turning a knob), then all knobs turned to both ends (dead
tracks, swapped ends, short travel). Calibration keeps the ends of the second part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from device.board import Board
from device.faults import Fault
from device.profile import KnobRow

LOOSE_NOISE = 0.02
"""rms of a resting input, fraction of the range, above which its wiper is disconnected."""
MUCH_NOISE = 4 / 1024
"""The most that the knob filter keeps still, same unit."""
SHORT_TRAVEL = 0.5
END_MARGIN = 4 / 1024
"""Calibrated ends are this far inside the measured ones: more than the band of a resting knob, so
that the knob reaches both."""


@dataclass(frozen=True)
class Finding:
    """The result for a part. If not ok, `text` says what is wrong and what to do."""

    part: str
    ok: bool
    text: str
    fault: Fault | None = None
    """The fault that the board itself reports."""
    calibratable: bool = False
    """Not ok, but calibration corrects it."""


@dataclass
class Reading:
    """Statistics of an input, as fractions of the converter's range."""

    count: int = 0
    low: float = 1.0
    high: float = 0.0
    mean: float = 0.0
    _squares: float = 0.0
    _last: float = 0.0

    def add(self, x: float) -> None:
        if self.count:
            self._squares += (x - self._last) ** 2
        self._last = x
        self.count += 1
        self.low, self.high = min(self.low, x), max(self.high, x)
        self.mean += (x - self.mean) / self.count

    @property
    def noise(self) -> float:
        """rms, from successive differences, so that a slow turn does not count."""
        return math.sqrt(self._squares / (2 * max(self.count - 1, 1)))


def watch(board: Board, seconds: float, wait: Callable[[float], object]) -> dict[str, Reading]:
    """Scan for some seconds. Returns the readings by control, without those of a dead converter.

    wait: time.sleep, or a test's clock.
    """
    readings = {name: Reading() for name in board.knobs}
    for _ in range(max(1, round(seconds / board.scan_s))):
        wait(board.scan_s)
        board.scan()
        dead = board.dead_knobs()
        for name, knob in board.knobs.items():
            if name not in dead and knob.filter.reading is not None:
                readings[name].add(knob.filter.reading)
    return {name: reading for name, reading in readings.items() if reading.count}


def at_rest(board: Board, readings: dict[str, Reading]) -> list[Finding]:
    """Findings while nobody touches the board."""
    faults = board.faults()
    findings = [_converter(board, number, readings, faults) for number in _rows(board.profile.adcs)]
    for row in board.profile.knobs:
        reading = readings.get(row.control.name)
        if reading is not None:
            findings.append(_resting_knob(row, reading))
    findings += [_resting_switch(board, number, faults) for number in _rows(board.profile.switches)]
    findings += [
        Finding(part, False, fault.text, fault)
        for part, fault in faults.items()
        if fault.part.kind == "led"
    ]
    return _merged(findings)


def _rows(rows: tuple[object, ...]) -> range:
    """Numbers of rows as people count them."""
    return range(1, len(rows) + 1)


def _converter(
    board: Board, number: int, readings: dict[str, Reading], faults: dict[str, Fault]
) -> Finding:
    part, adc = f"adc {number}", board.profile.adcs[number - 1]
    if part in faults:
        return Finding(part, False, faults[part].text, faults[part])
    knobs = [row.control.name for row in board.profile.knobs if row.adc == number - 1]
    wired = [readings[name] for name in knobs if name in readings]
    if len(wired) > 1 and all(reading.high < 1 / 1024 for reading in wired):
        text = "reads 0 on every channel: check its supply, its reference and its data line"
        return Finding(part, False, f"{adc} {text} (DOUT to MISO)")
    if len(wired) > 1 and all(reading.low > 1023 / 1024 for reading in wired):
        text = "reads its highest code on every channel: check its ground and that of the pots"
        return Finding(part, False, f"{adc} {text}")
    return Finding(part, True, f"{adc} answers")


def _resting_switch(board: Board, number: int, faults: dict[str, Fault]) -> Finding:
    part, switch = f"switch {number}", board.profile.switches[number - 1]
    if part in faults:
        return Finding(part, False, faults[part].text, faults[part])
    place = f"{switch.action}, line {switch.line}"
    closed = board.switch_closed(number - 1)
    if switch.latching or closed == switch.inverted:
        return Finding(part, True, f"{place}: {'closed' if closed else 'open'}")
    if closed:
        text = (
            "closed while not pressed: if it opens when pressed, set inverted = true in its row; "
            "if it stays where it was stepped to, latching = true; else look for a short circuit"
        )
    else:
        text = "open while not pressed: take inverted = true out of its row, or check its wires"
    return Finding(part, False, f"{place}: {text}")


def _merged(findings: list[Finding]) -> list[Finding]:
    """One finding for all switches and LEDs that fail for the same cause."""
    merged: list[Finding] = []
    places: dict[str, int] = {}
    for finding in findings:
        fault = finding.fault
        if fault is None:
            merged.append(finding)
        elif fault.cause in places and fault.part.kind in ("switch", "led"):
            place = places[fault.cause]
            parts = f"{merged[place].part}, {finding.part}"
            merged[place] = Finding(parts, False, fault.cause, merged[place].fault)
        else:
            places[fault.cause] = len(merged)
            merged.append(finding)
    return merged


def _where(row: KnobRow) -> str:
    return f"channel {row.channel}" + (f" of adc {row.adc + 1}" if row.adc else "")


def _resting_knob(row: KnobRow, reading: Reading) -> Finding:
    part = f"knob {row.control.name}"
    seen = f"{_where(row)} at {reading.mean:.1%}, noise {reading.noise * 1024:.1f}/1024"
    if reading.noise > LOOSE_NOISE:
        text = "floats: the wiper's wire (the pot's middle leg) is off or on another channel"
        return Finding(part, False, f"{seen}: {text}")
    if reading.noise > MUCH_NOISE:
        text = "noisy: put 100 nF from the wiper to ground, keep its wire away from mains and audio"
        return Finding(part, False, f"{seen}: {text}")
    return Finding(part, True, seen)


def at_ends(
    board: Board, clockwise: dict[str, Reading], counter: dict[str, Reading]
) -> list[Finding]:
    """Findings on the knobs, from readings at their clockwise and counter-clockwise ends."""
    return list(_turned_knobs(board, clockwise, counter).values())


def _turned_knobs(
    board: Board, clockwise: dict[str, Reading], counter: dict[str, Reading]
) -> dict[str, Finding]:
    """By control."""
    rows = {row.control.name: row for row in board.profile.knobs}
    return {
        name: _turned_knob(row, clockwise[name].mean, counter[name].mean)
        for name, row in rows.items()
        if name in clockwise and name in counter
    }


def _turned_knob(row: KnobRow, up: float, down: float) -> Finding:
    """up, down: readings at the clockwise and the counter-clockwise end."""
    if row.inverted:
        up, down = down, up
    seen = f"{_where(row)} from {min(up, down):.1%} to {max(up, down):.1%}"
    part = f"knob {row.control.name}"
    if abs(up - down) < 0.02:
        text = "does not move: not turned, or an outer leg's wire is off, or the wiper is shorted"
        return Finding(part, False, f"{seen}: {text}")
    if up < down:
        inverted = "false" if row.inverted else "true"
        text = f"swap the wires of the outer legs, or set inverted = {inverted} in its row"
        return Finding(part, False, f"{seen}, highest on the left: {text}")
    if up - down < SHORT_TRAVEL:
        text = "half of the range is missing: check that supply and ground are on the outer legs"
        return Finding(part, False, f"{seen}: {text}; if they are, calibrate", calibratable=True)
    if down > row.low - END_MARGIN / 2 or up < row.high + END_MARGIN / 2:
        text = "may not reach both ends: run nverb board calibrate"
        return Finding(part, False, f"{seen}: {text}", calibratable=True)
    return Finding(part, True, seen)


def calibrated(
    board: Board, clockwise: dict[str, Reading], counter: dict[str, Reading]
) -> tuple[dict[str, tuple[float, float]], list[Finding]]:
    """The ends to keep, by control, and findings on the knobs that cannot be calibrated."""
    ends = {}
    findings = []
    for name, finding in _turned_knobs(board, clockwise, counter).items():
        readings = (clockwise[name], counter[name])
        low, high = sorted(reading.mean for reading in readings)
        margin = END_MARGIN + max(reading.noise for reading in readings)
        if finding.ok or finding.calibratable:
            ends[name] = (round(low + margin, 5), round(high - margin, 5))
        else:
            findings.append(finding)
    return ends, findings


def presses(board: Board, seconds: float, wait: Callable[[float], object]) -> list[Finding]:
    """Findings on the switches, after each was stepped on once during these seconds."""
    numbers = range(len(board.profile.switches))
    at_rest = [board.switch_closed(number) for number in numbers]
    moved: set[int] = set()
    for _ in range(max(1, round(seconds / board.scan_s))):
        wait(board.scan_s)
        board.scan()
        moved |= {n for n in numbers if board.switch_closed(n) != at_rest[n]}
    return [_stepped_switch(board, n, at_rest[n], was_seen=n in moved) for n in numbers]


def _stepped_switch(board: Board, number: int, at_rest: bool, *, was_seen: bool) -> Finding:
    """at_rest: whether it was closed before it was stepped on."""
    row = board.profile.switches[number]
    fault = ""
    if not was_seen:
        fault = "not seen: check its wires, to the line and to ground"
    elif board.switch_closed(number) != at_rest:
        if not row.latching:
            fault = "stays where it was stepped to: set latching = true in its row"
    elif row.latching:
        fault = (
            "goes back by itself, or was stepped on twice: else take latching = true out of its row"
        )
    elif at_rest and not row.inverted:
        fault = "opens when pressed: set inverted = true in its row"
    elif row.inverted and not at_rest:
        fault = "closes when pressed: take inverted = true out of its row"
    text = f"{row.action}, line {row.line}: {fault or 'seen'}"
    return Finding(f"switch {number + 1}", not fault, text)
