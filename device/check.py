"""Is the board wired rightly? Measures its inputs and says what is wrong, with the remedy. For `nverb board check|calibrate`.

A check has two parts: hands off (what noise, a loose wire, a missing chip look like needs no turning), and all knobs
turned to both ends (dead tracks, swapped ends, short travel). Calibration is the second part, kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from device.board import Board
from device.profile import KnobRow

LOOSE_NOISE = 0.02
"""rms of a resting input, fraction of the range, from which its wiper must be in the air."""
MUCH_NOISE = 4 / 1024
"""What the filter still holds still, with nothing to spare."""
SHORT_TRAVEL = 0.5
END_MARGIN = 4 / 1024
"""How far inside the measured ends the calibrated ones lie: more than a resting knob's band, so that both are reached."""


@dataclass(frozen=True)
class Finding:
    """What was found of a part. ok False: `text` says what is wrong and what to do."""

    part: str
    ok: bool
    text: str


@dataclass
class Reading:
    """An input watched for a while; all as fractions of the converter's range."""

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
        """rms, from successive differences: a slow turn is no noise."""
        return math.sqrt(self._squares / (2 * max(self.count - 1, 1)))


def watch(board: Board, seconds: float, wait: Callable[[float], object]) -> dict[str, Reading]:
    """Scans for a while; what each knob's input read. wait: time.sleep, or a test's clock. A dead converter's knobs lack."""
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
    """Findings with nobody touching the board."""
    findings = []
    broken = {part: text for part, text in board.faults().items() if not part.startswith("knob ")}
    for number, adc in enumerate(board.profile.adcs, 1):
        part = f"adc {number}"
        if part in broken:
            findings.append(Finding(part, False, broken.pop(part)))
            continue
        wired = [readings[row.control.name] for row in board.profile.knobs if row.adc == number - 1]
        if len(wired) > 1 and all(reading.high < 1 / 1024 for reading in wired):
            text = f"{adc} reads 0 on every channel: check its supply, its reference and its data line (DOUT to MISO)"
            findings.append(Finding(part, False, text))
        elif len(wired) > 1 and all(reading.low > 1023 / 1024 for reading in wired):
            text = f"{adc} reads its highest code on every channel: check its ground, and that of the pots"
            findings.append(Finding(part, False, text))
        else:
            findings.append(Finding(part, True, f"{adc} answers"))
    for row in board.profile.knobs:
        reading = readings.get(row.control.name)
        if reading is not None:
            findings.append(_resting_knob(row, reading))
    for number, switch in enumerate(board.profile.switches, 1):
        part = f"switch {number}"
        if part in broken:
            findings.append(Finding(part, False, broken[part]))
        elif board.switch_closed(number - 1):
            text = f"{switch.action}, line {switch.line}: closed with nobody on it: it must close when pressed, to ground"
            findings.append(Finding(part, False, text))
        else:
            findings.append(Finding(part, True, f"{switch.action}, line {switch.line}: open"))
    findings += [
        Finding(part, False, text) for part, text in broken.items() if part.startswith("led")
    ]
    return _merged(findings)


def _merged(findings: list[Finding]) -> list[Finding]:
    """One finding for all parts that cannot be opened for the same reason."""
    merged: list[Finding] = []
    places: dict[str, int] = {}
    for finding in findings:
        reason = finding.text.rpartition("): ")[2]
        place = places.get(reason)
        if finding.ok or not finding.part.startswith(("switch", "led")) or place is None:
            if not finding.ok:
                places[reason] = len(merged)
            merged.append(finding)
        else:
            merged[place] = Finding(f"{merged[place].part}, {finding.part}", False, reason)
    return merged


def _where(row: KnobRow) -> str:
    return f"channel {row.channel}" + (f" of adc {row.adc + 1}" if row.adc else "")


def _resting_knob(row: KnobRow, reading: Reading) -> Finding:
    part = f"knob {row.control.name}"
    seen = f"{_where(row)} at {reading.mean:.1%}, noise {reading.noise * 1024:.1f}/1024"
    if reading.noise > LOOSE_NOISE:
        return Finding(
            part,
            False,
            f"{seen}: floats: the wiper's wire (the pot's middle leg) is off or on another channel",
        )
    if reading.noise > MUCH_NOISE:
        return Finding(
            part,
            False,
            f"{seen}: noisy: put 100 nF from the wiper to ground, keep its wire from mains and audio",
        )
    return Finding(part, True, seen)


def at_ends(
    board: Board, clockwise: dict[str, Reading], counter: dict[str, Reading]
) -> list[Finding]:
    """Findings on knobs that were watched while they stood at their clockwise and counter-clockwise ends."""
    findings = []
    for row in board.profile.knobs:
        name = row.control.name
        if name not in clockwise or name not in counter:
            continue
        up, down = clockwise[name].mean, counter[name].mean
        if row.inverted:
            up, down = down, up
        seen = f"{_where(row)} from {min(up, down):.1%} to {max(up, down):.1%}"
        part = f"knob {name}"
        if abs(up - down) < 0.02:
            text = f"{seen}: does not move: it was not turned, or an outer leg's wire is off, or the wiper is shorted"
            findings.append(Finding(part, False, text))
        elif up < down:
            turn = "false" if row.inverted else "true"
            text = f"{seen}, highest on the left: exchange the wires of the outer legs, or set inverted = {turn} in its row"
            findings.append(Finding(part, False, text))
        elif up - down < SHORT_TRAVEL:
            text = f"{seen}: half of the range is missing: are both outer legs on supply and ground? If so, calibrate"
            findings.append(Finding(part, False, text))
        elif down > row.low - END_MARGIN / 2 or up < row.high + END_MARGIN / 2:
            findings.append(
                Finding(part, False, f"{seen}: may not reach both ends: run nverb board calibrate")
            )
        else:
            findings.append(Finding(part, True, seen))
    return findings


def calibrated(
    board: Board, clockwise: dict[str, Reading], counter: dict[str, Reading]
) -> tuple[dict[str, tuple[float, float]], list[Finding]]:
    """Ends to keep, by control, and findings on the knobs that give none."""
    ends = {}
    findings = []
    for finding in at_ends(board, clockwise, counter):
        name = finding.part.removeprefix("knob ")
        readings = (clockwise[name], counter[name])
        low, high = sorted(reading.mean for reading in readings)
        margin = END_MARGIN + max(reading.noise for reading in readings)
        if finding.ok or "calibrate" in finding.text:
            ends[name] = (round(low + margin, 5), round(high - margin, 5))
        else:
            findings.append(finding)
    return ends, findings


def presses(board: Board, seconds: float, wait: Callable[[float], object]) -> set[int]:
    """Which switches (by row, from 0) were closed within this time."""
    closed = set()
    for _ in range(max(1, round(seconds / board.scan_s))):
        wait(board.scan_s)
        board.scan()
        closed |= {
            number for number in range(len(board.profile.switches)) if board.switch_closed(number)
        }
    return closed
