"""`nverb bench measure`: how exact `nverb measure` is, on simulated loops of known responses.

No sound card and no JACK: a loop is a response, a distortion, noise and a second clock.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_py.bench.parts import Parts
from firmware_py.jack.defaults import RATE_HZ

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from firmware_py.measure.result import Measured

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]

SWEEP_S, LONG_S = 6.0, 12.0
NOISE_DB = -30.0
ROWS = (("T30", "%"), ("EDT", "%"), ("C50", "dB"))
BARS = (2.0, 3.0, 0.3)
AUDIBLE = 1e-4
"""Harmonics below this share are not compared: noise is as large."""
LATENCY = 700


@dataclass(frozen=True)
class Figure:
    """What was measured, in its unit, and the bar that it is to stay under."""

    what: str
    value: float
    bar: float
    unit: str


def add_parser(parts: Parts) -> None:
    parser = parts.add_parser(
        "measure",
        help="how exact `nverb measure` is, on simulated loops",
        description="Measures responses that are known, with noise, distortion and a second clock. "
        "Plays nothing and takes a minute.",
    )
    parser.add_argument(
        "--irs",
        type=Path,
        metavar="FOLDER",
        help="also measure each sound file there, its first channel, as a room: some 6 s each",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(handler=_bench)


def _bench(args: argparse.Namespace) -> int:
    found = []
    for figure in figures(args.irs):
        found.append(figure)
        if not args.json:
            within = "" if figure.value <= figure.bar else "  over the bar"
            print(
                f"{figure.what:46}{figure.value:9.3f}{figure.bar:9.3g} {figure.unit}{within}",
                flush=True,
            )
    if args.json:
        print(json.dumps([asdict(figure) for figure in found], indent=2))
    return 0


class SimulatedLoop:
    """A loop with one output and one input: see `firmware_py.measure.loop.Loop`.

    noise_db: pink noise against the sweep as it comes back. drive: of soft clipping, a hyperbolic
    tangent. ratio: the player's rate over the recorder's.
    """

    rate_hz = RATE_HZ

    def __init__(
        self, ir: Doubles, noise_db: float, *, drive: float = 0.0, ratio: float = 1.0
    ) -> None:
        import numpy as np

        self._ir = np.concatenate([np.zeros(LATENCY), ir])
        self._noise_db, self._drive, self._ratio = noise_db, drive, ratio
        self._random = np.random.default_rng(1)
        self.sound_s = 0.0

    def take(self, sound: Floats) -> Floats:
        """See Loop."""
        import numpy as np

        played = sound[0].astype(np.float64)
        loudest = float(np.abs(played).max())
        if self._drive:
            played = _clipped(played, self._drive / max(loudest, 1e-9))
        heard = _convolved(played, self._ir)
        if self._ratio != 1.0:
            heard = _resampled(heard, self._ratio)
        active = np.abs(sound[0]) > loudest / 10
        level = float(np.sqrt(np.mean(heard[active] ** 2)))
        noise = _pink(self._random, len(heard)) * level * 10 ** (self._noise_db / 20)
        self.sound_s += len(heard) / self.rate_hz
        return np.asarray(heard + noise, np.float32)[None]


def _convolved(sound: Doubles, ir: Doubles) -> Doubles:
    import numpy as np

    frames = 1 << (len(sound) + len(ir)).bit_length()
    spectrum = np.fft.rfft(sound, frames) * np.fft.rfft(ir, frames)
    return np.asarray(np.fft.irfft(spectrum, frames)[: len(sound)])


def _clipped(sound: Doubles, drive: float, factor: int = 8) -> Doubles:
    """Softly, at a higher rate: what is analog has no aliases."""
    import numpy as np

    frames = len(sound) + len(sound) % 2
    fine = np.fft.irfft(np.fft.rfft(sound, frames), frames * factor) * factor
    fine = np.tanh(drive * fine) / drive
    clipped = np.fft.irfft(np.fft.rfft(fine)[: frames // 2 + 1] / factor, frames)
    return np.asarray(clipped[: len(sound)])


def _shares(drive: float) -> dict[int, float]:
    """Of the harmonics of a clipped sine, by order."""
    import numpy as np

    wave = np.tanh(drive * np.sin(2 * np.pi * np.arange(1 << 10) / (1 << 10)))
    lines = np.abs(np.fft.rfft(wave))
    return {order: float(lines[order] / lines[1]) for order in (3, 5, 7)}


def _drive_of(share: float) -> float:
    """The drive that makes so much of the third harmonic."""
    low, high = 0.01, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _shares(middle)[3] < share else (low, middle)
    return low


def _resampled(sound: Doubles, ratio: float) -> Doubles:
    """As a recorder hears it that runs slower by `ratio`: exact, because of periodic sounds."""
    import numpy as np

    exact = Fraction(ratio).limit_denominator(100_000)
    parts = 2 * math.ceil(1.1 * len(sound) / exact.numerator / 2)
    frames, shorter = parts * exact.numerator, parts * exact.denominator
    spectrum = np.fft.rfft(sound, frames)[: shorter // 2 + 1]
    spectrum = np.pad(spectrum, (0, shorter // 2 + 1 - len(spectrum)))
    heard = np.fft.irfft(spectrum, shorter) * (shorter / frames)
    return np.asarray(heard[: len(sound)])


def _pink(random: np.random.Generator, frames: int) -> Doubles:
    import numpy as np

    spectrum = np.fft.rfft(random.standard_normal(frames))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, frames)
    return np.asarray(noise / noise.std())


def _measured(loop: SimulatedLoop, sweep_s: float | None = SWEEP_S) -> Measured:
    from firmware_py.measure.measurement import Measurement, Wanted

    level_db = None if sweep_s is None else -40.0
    measurement = Measurement(
        loop, Wanted(((0,),), 1, sweep_s=sweep_s, level_db=level_db), lambda _: None
    )
    measurement.listen()
    return measurement.result()


def _room(t60_s: float = 0.6, seed: int = 1) -> Doubles:
    import numpy as np

    time_s = np.arange(int(1.2 * t60_s * RATE_HZ)) / RATE_HZ
    noise = np.random.default_rng(seed).standard_normal(len(time_s))
    ir = 0.05 * noise * np.exp(-6.9 * time_s / t60_s)
    ir[0] = 1.0
    return np.asarray(ir)


def figures(folder: Path | None = None) -> Iterator[Figure]:
    """All figures, one by one; also of the recordings of a folder."""
    yield from exactness()
    yield from _distortion()
    yield from _acoustics(folder)
    yield from _walk()
    yield memory()


def _off(measured: Measured, ir: Doubles, aligned: bool) -> tuple[float, float]:
    """The largest errors from 20 Hz to 20 kHz: dB, and samples of delay. Not in notches.

    `aligned`: without a delay common to all frequencies, which a second clock brings."""
    import numpy as np

    begin = round(measured.delay_s * RATE_HZ) - LATENCY
    frames = 1 << 18
    true = np.fft.rfft(ir, frames)
    hz = np.fft.rfftfreq(frames, 1 / RATE_HZ)
    found = np.fft.rfft(measured.samples[0].astype(np.float64), frames)
    off = found * np.exp(-2j * np.pi * hz / RATE_HZ * begin) / true
    if aligned:
        likeness = np.fft.irfft(found * true.conj() * np.exp(-2j * np.pi * hz / RATE_HZ * begin))
        off *= np.exp(2j * np.pi * hz / RATE_HZ * int(np.argmax(likeness)))
        middle = (hz > 500) & (hz < 5000)
        turns = 2j * np.pi * hz / RATE_HZ
        off *= np.exp(-turns * np.median(np.angle(off[middle]) / (turns.imag[middle])))
    usual = np.sqrt(np.convolve(np.abs(true) ** 2, np.ones(31) / 31, "same"))
    heard = (hz >= 20) & (hz <= 20000) & (np.abs(true) > 0.3 * usual)
    level_db = 20 * np.log10(np.abs(off[heard]))
    delay = np.angle(off[heard]) / (2 * np.pi * hz[heard]) * RATE_HZ
    return float(np.abs(level_db).max()), float(np.abs(delay).max())


def exactness() -> Iterator[Figure]:
    import numpy as np

    wire = np.pad(np.ones(1), (0, 480))
    for name, ir, ratio in (
        ("wire", wire, 1.0),
        ("room", _room(), 1.0),
        ("room, two clocks 200 ppm apart", _room(), 1.0002),
    ):
        measured = _measured(SimulatedLoop(ir, -90.0, ratio=ratio))
        # The recorder's clock counts the response too.
        true = ir if ratio == 1.0 else _resampled(np.pad(ir, (0, 1 << 20)), ratio)[: len(ir)]
        level_db, delay = _off(measured, true, ratio != 1.0)
        yield Figure(f"{name}, noise at -90 dB: magnitude", level_db, 0.1, "dB")
        yield Figure(f"{name}, noise at -90 dB: phase delay", delay, 0.1, "samples")


def _distortion() -> Iterator[Figure]:
    import numpy as np

    ir = _room()
    true = np.abs(np.fft.rfft(ir, 1 << 16))
    hz = np.fft.rfftfreq(1 << 16, 1 / RATE_HZ)
    for percent in (1, 10):
        drive = _drive_of(percent / 100)
        measured = _measured(SimulatedLoop(ir, -90.0, drive=drive))
        found = np.abs(np.fft.rfft(measured.samples[0], 1 << 16))
        changes = []
        for low_hz in (100, 400, 1600, 6400):
            band = (hz >= low_hz) & (hz < 2 * low_hz)
            changes.append(10 * np.log10(np.sum(found[band] ** 2) / np.sum(true[band] ** 2)))
        told = measured.paths[0].take.distortion.share
        off = [
            told[order] / share - 1 for order, share in _shares(drive).items() if share > AUDIBLE
        ]
        name = f"soft clipping, {percent} % third harmonic"
        yield Figure(f"{name}: response", float(np.abs(changes).max()), 0.2, "dB")
        yield Figure(f"{name}: {len(off)} orders", 100 * float(np.abs(off).max()), 10.0, "%")


def _acoustics(folder: Path | None) -> Iterator[Figure]:
    import numpy as np

    from dsp.acoustics import measure
    from firmware_py.bench.measure_rooms import rooms
    from firmware_py.measure.plan import LONGEST_DECAY_S
    from firmware_py.measure.report import figures as told

    wire = _measured(SimulatedLoop(np.pad(np.ones(1), (0, 480)), NOISE_DB), LONG_S)
    yield Figure("wire, pink noise at -30 dB: peak under noise", -wire.range_db, -85.0, "dB")
    errors: list[Doubles] = []
    missing: list[float] = []
    floors: list[float] = []
    for name, ir in rooms(folder):
        true = measure(ir.astype(np.float32), RATE_HZ)
        measured = _measured(SimulatedLoop(ir, NOISE_DB), LONG_S)
        own = told(measured.paths[0].figures)
        missing.append(most_range_db(ir, LONG_S) - measured.range_db)
        if measured.samples.shape[1] < LONGEST_DECAY_S * RATE_HZ:
            floors.append(-measured.floor_db)
        off = np.stack(
            [
                100 * np.abs(own["t30_s"] / true.t30_s - 1),
                100 * np.abs(own["edt_s"] / true.edt_s - 1),
                np.abs(own["c50_db"] - true.c50_db),
            ]
        )
        errors.append(off)
        for bar, (label, unit), row in zip(BARS, ROWS, off, strict=True):
            if folder and np.any(row > bar):
                worst = float(np.nanmax(row))
                yield Figure(f"{name[:28]}: {label}, worst octave", worst, bar, unit)
    every = np.concatenate(errors, axis=1)
    for bar, (label, unit), row in zip(BARS, ROWS, every, strict=True):
        what = f"{len(errors)} rooms, pink noise at -30 dB: {label},"
        yield Figure(f"{what} median", float(np.nanmedian(row)), bar, unit)
        yield Figure(f"{what} worst octave", float(np.nanmax(row)), bar, unit)
        yield Figure(f"{what} octaves over the bar", float(np.sum(row > bar)), 0.0, "")
        masked = 100 * float(np.mean(np.isnan(row)))
        yield Figure(f"{what} not measurable", masked, 100.0, "% of octaves")
    yield Figure("range that is missing to its limit, median", float(np.median(missing)), 1.0, "dB")
    yield Figure("end of the files under their peaks, least", max(floors), -85.0, "dB")


def most_range_db(ir: Doubles, sweep_s: float) -> float:
    """The most that a sweep of this length can give under the pink noise of a SimulatedLoop; see
    docs/measure.md. The noise reaches farther down than the sweep: of its power, less counts."""
    import numpy as np

    from dsp.sweep import SineSweep

    sweep = SineSweep.of(RATE_HZ, sweep_s)
    frames = 1 << 20
    hz = np.fft.rfftfreq(frames, 1 / RATE_HZ)
    power = np.abs(np.fft.rfft(ir, frames)) ** 2
    inside = (hz >= sweep.start_hz) & (hz < RATE_HZ / 2)
    octaves_swept = math.log2(hz[inside][-1] / hz[inside][0])
    octaves_of_noise = math.log2(RATE_HZ / 2 * sweep.seconds)
    # As the sweep comes back: softer where it fades in.
    heard = power[inside] * sweep.fade(hz[inside]) ** 2
    usual = float(np.sum(heard / hz[inside]) / np.sum(1 / hz[inside]))
    return float(
        -NOISE_DB
        + 10 * math.log10(sweep.seconds * RATE_HZ * octaves_of_noise / octaves_swept)
        + 10 * math.log10(np.max(ir**2) / usual)
    )


def _walk() -> Iterator[Figure]:
    loop = SimulatedLoop(_room(), -60.0)
    begin = time.monotonic()
    _measured(loop, None)
    yield Figure(
        "computing, from the first level to the response", time.monotonic() - begin, 5, "s"
    )


def memory() -> Figure:
    """Of a process that measures a room with the longest usual sweep."""
    from firmware_py.bench.measure_memory import peak_mib

    return Figure(
        "memory at the peak, sweep of 12 s", peak_mib(SimulatedLoop(_room(1.0), -60.0)), 60, "MiB"
    )
