"""`nverb bench knobs`: our knob filter compared with common ones, and the cost of a scan.

All filters get the same simulated noise, hum and turns.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from firmware_py.bench.parts import Parts

LSB = 1 / 1024


def add_parser(parts: Parts) -> None:
    parser = parts.add_parser(
        "knobs",
        help="knob filters: jitter at rest, lag in a turn, clicks, cost; cost of a scan",
        description="Simulated 10-bit readings: noise of 2 LSB rms, drifting hum of 2 LSB at "
        "50 Hz, at --scan-hz.",
    )
    parser.add_argument(
        "--scan-hz", type=float, default=200.0, help="scans per second (default: %(default)s)"
    )
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="time at rest (default: %(default)s)"
    )
    parser.set_defaults(handler=_knobs)


class Filter(Protocol):
    """A filter under test. update: as that of KnobFilter; position: 0..1."""

    position: float | None

    def update(self, code: int, now: float) -> bool: ...


class Raw:
    """No filter."""

    def __init__(self) -> None:
        self.position: float | None = None

    def update(self, code: int, now: float) -> bool:
        before, self.position = self.position, code / 1023
        return self.position != before


class MedianPoleBand:
    """Median of 3, one pole, a dead band. pole_s: time constant; band: in LSB."""

    def __init__(self, scan_hz: float, pole_s: float, band: float) -> None:
        self.position: float | None = None
        self._gain = -math.expm1(-1 / (pole_s * scan_hz))
        self._band = band / 1023
        self._codes = [0, 0, 0]
        self._smooth = -1.0

    def update(self, code: int, now: float) -> bool:
        self._codes = [*self._codes[1:], code]
        x = sorted(self._codes)[1] / 1023
        self._smooth = x if self._smooth < 0 else self._smooth + self._gain * (x - self._smooth)
        if self.position is not None and abs(self._smooth - self.position) < self._band:
            return False
        self.position = self._smooth
        return True


class OneEuro:
    """1 euro filter (Casiez, Roussel, Vogel, CHI 2012), rounded to 1/512.

    One pole whose cutoff rises with the speed.
    """

    def __init__(self, scan_hz: float, cutoff_hz: float = 0.5, beta: float = 20.0) -> None:
        self.position: float | None = None
        self._rate, self._cutoff_hz, self._beta = scan_hz, cutoff_hz, beta
        self._x = self._smooth = self._speed = 0.0
        self._begun = False

    def _gain(self, cutoff_hz: float) -> float:
        return 1 / (1 + self._rate / (2 * math.pi * cutoff_hz))

    def update(self, code: int, now: float) -> bool:
        x = code / 1023
        if not self._begun:
            self._begun, self._x, self._smooth = True, x, x
        self._speed += self._gain(1.0) * ((x - self._x) * self._rate - self._speed)
        self._x = x
        self._smooth += self._gain(self._cutoff_hz + self._beta * abs(self._speed)) * (
            x - self._smooth
        )
        position = round(self._smooth * 512) / 512
        if position == self.position:
            return False
        self.position = position
        return True


def _filters(scan_hz: float) -> dict[str, Callable[[], Filter]]:
    from device.knobs import KnobFilter

    return {
        "raw codes": Raw,
        "median, pole 20 ms, band 2": lambda: MedianPoleBand(scan_hz, 0.02, 2),
        "median, pole 20 ms, band 8": lambda: MedianPoleBand(scan_hz, 0.02, 8),
        "median, pole 200 ms, band 2": lambda: MedianPoleBand(scan_hz, 0.2, 2),
        "1 euro, rounded to 1/512": lambda: OneEuro(scan_hz),
        "KnobFilter (ours)": lambda: KnobFilter(1023, low=0.0, high=1.0),
    }


def _codes(
    shaft: Callable[[float], float], seconds: float, scan_hz: float, seed: int
) -> Iterator[tuple[float, int]]:
    """(time, code) of a pot at shaft(t) 0..1, with 2 LSB rms noise and 2 LSB hum near 50 Hz."""
    noise = random.Random(seed)
    for n in range(round(seconds * scan_hz)):
        t = n / scan_hz
        hum = 2 * LSB * math.sin(2 * math.pi * (50 * t + 0.02 * math.sin(t / 50)))
        x = shaft(t) + hum + noise.gauss(0, 2 * LSB)
        yield t, min(max(round(x * 1023), 0), 1023)


def jitter(filter_: Filter, minutes: float, scan_hz: float) -> tuple[int, float]:
    """Number of reported changes of an untouched knob after 2 s, and their spread in LSB."""
    changes, low, high = 0, 1.0, 0.0
    for t, code in _codes(lambda _: 0.5004, minutes * 60, scan_hz, seed=1):
        changed = filter_.update(code, t)
        if t > 2 and filter_.position is not None:
            changes += changed
            low, high = min(low, filter_.position), max(high, filter_.position)
    return changes, max(high - low, 0.0) / LSB


def lag_ms(make: Callable[[], Filter], turn_s: float, scan_hz: float) -> float:
    """Lag of the output in ms in a turn from end to end.

    The mean over the marks 0.2, 0.3 ... 0.8 and 20 turns.
    """
    late = []
    for seed in range(20):
        filter_ = make()
        begin = 2 + seed * 0.37 / scan_hz

        def shaft(t: float, begin: float = begin) -> float:
            return min(max((t - begin) / turn_s, 0.0), 1.0)

        marks = [mark / 10 for mark in range(2, 9)]
        for t, code in _codes(shaft, begin + turn_s + 3, scan_hz, seed):
            filter_.update(code, t)
            while (
                marks
                and filter_.position is not None
                and t > begin
                and filter_.position >= marks[0]
            ):
                late.append((t - begin - marks.pop(0) * turn_s) * 1000)
    return sum(late) / len(late)


def click(filter_: Filter, scan_hz: float) -> float:
    """Largest excursion in percent of the travel when single readings drop to 0."""
    worst = 0.0
    for n, (t, code) in enumerate(_codes(lambda _: 0.7, 20, scan_hz, seed=3)):
        filter_.update(0 if n % 200 == 199 else code, t)
        if t > 2 and filter_.position is not None:
            worst = max(worst, abs(filter_.position - 0.7))
    return 100 * worst


def cost_us(filter_: Filter, scan_hz: float) -> float:
    """Processor time of one reading of a knob at rest, in us."""
    readings = list(_codes(lambda _: 0.5004, 100, scan_hz, seed=4))
    begin = time.process_time()
    for t, code in readings:
        filter_.update(code, t)
    return 1e6 * (time.process_time() - begin) / len(readings)


def fine_steps(make: Callable[[], Filter], scan_hz: float) -> tuple[int, int]:
    """How many moves by 1/500 of the travel are reported, and how many were made.

    The moves are 3 s apart, the noise is 0.5 LSB rms.
    """
    noise, filter_, seen, steps = random.Random(7), make(), 0, 20
    for step in range(steps + 1):
        reported = False
        for n in range(round(3 * scan_hz)):
            x = 0.3 + step / 500 + noise.gauss(0, 0.5 * LSB)
            reported |= filter_.update(round(x * 1023), 3 * step + n / scan_hz) and n > 2
        seen += reported and step > 0
    return seen, steps


class _Answers:
    """An SPI bus without latency: measures the cost of the layers above it."""

    def __init__(self) -> None:
        self._replies = [[0, 2, low] for low in range(256)]
        self._n = 0

    def transfer(self, _: list[int]) -> list[int]:
        self._n = (self._n + 1) & 3
        return self._replies[self._n]

    def close(self) -> None:
        pass


def scan_cost_us(turning: int) -> float:
    """Processor time of a scan of eight channels in us, `turning` knobs in motion.

    Includes driver, filters, laws and events.
    """
    from device.controls import CONTROLS
    from device.knobs import Knob, KnobFilter, Takeover
    from device.mcp3xxx import Mcp3008

    rows = [control for control in CONTROLS if not control.is_switch][:8]
    adc = Mcp3008(_Answers(), list(range(8)))
    knobs = [Knob(control, KnobFilter(adc.full_scale), Takeover()) for control in rows]
    scans = 4000
    begin = time.process_time()
    for n in range(scans):
        codes = adc.read()
        for place, knob in enumerate(knobs):
            code = (codes[place] + 3 * n) % 1000 if place < turning else codes[place]
            knob.update(code, n * 0.005)
    return 1e6 * (time.process_time() - begin) / scans


def _knobs(args: argparse.Namespace) -> int:
    from dsp.errors import UserError

    if not 50 <= args.scan_hz <= 1000 or not 0.1 <= args.minutes <= 600:
        raise UserError("--scan-hz must be 50 to 1000, --minutes 0.1 to 600")
    scan_hz = args.scan_hz
    print(
        f"noise 2 LSB rms, hum 2 LSB, {scan_hz:g} scans per second; "
        "columns 0.15 s, 0.5 s, 2 s: lag in a turn from end to end of this length"
    )
    print(
        f"{'':28} {'changes':>10} {'spread':>7} {'0.15 s':>7} {'0.5 s':>7} {'2 s':>7} "
        f"{'click':>7} {'cost':>8}"
    )
    print(
        f"{'filter':28} {f'/{args.minutes:g} min':>10} {'LSB':>7} {'ms':>7} {'ms':>7} {'ms':>7} "
        f"{'%':>7} {'us':>8}"
    )
    for name, make in _filters(scan_hz).items():
        print(f"{name:28} ", end="", flush=True)
        changes, spread = jitter(make(), args.minutes, scan_hz)
        print(f"{changes:9} {spread:7.1f} ", end="", flush=True)
        lags = " ".join(f"{lag_ms(make, turn_s, scan_hz):7.1f}" for turn_s in (0.15, 0.5, 2.0))
        print(f"{lags} {click(make(), scan_hz):7.1f} {cost_us(make(), scan_hz):8.2f}", flush=True)
    ours = _filters(scan_hz)["KnobFilter (ours)"]
    seen, steps = fine_steps(ours, scan_hz)
    print(f"\n{'KnobFilter':58} {'bar':>10} {'measured':>10}")
    print(f"{f'changes of an untouched knob in {args.minutes:g} min':58} {0:>10} {changes:>10}")
    print(f"{'lag in a turn of 0.15 s, ms':58} {10:>10} {lag_ms(ours, 0.15, scan_hz):>10.1f}")
    print(f"{'reported moves by 1/500 of the travel':58} {steps:>10} {seen:>10}")
    for turning, words in ((0, "at rest"), (2, "two turning"), (8, "all turning")):
        cost = scan_cost_us(turning)
        what = f"eight channels, {words}, {cost:.0f} us per scan: % of a core"
        print(f"{what:58} {3:>10} {cost * scan_hz / 1e4:>10.2f}")
    return 0
