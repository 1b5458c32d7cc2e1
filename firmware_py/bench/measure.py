"""`nverb bench measure`: how exact `nverb measure` is, on simulated loops of known responses.

No sound card and no JACK: a loop is a response, a distortion, noise and a second clock.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from firmware_py.bench.parts import Parts
from firmware_py.jack.defaults import RATE_HZ

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from firmware_py.measure.result import Measured

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]

SWEEP_S = 6.0
LATENCY = 700
PLACES = ((2.0, 3.0, 2.0), (5.0, 5.0, 5.0), (7.0, 2.0, 8.0), (8.0, 8.0, 3.0))
"""Of the shipped rooms that are measured under noise, on the knobs."""


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
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(handler=_bench)


def _bench(args: argparse.Namespace) -> int:
    found = []
    for figure in figures():
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

    noise_db: pink noise against the sweep as it comes back. bend: of x - bend x**3. ratio: the
    player's rate over the recorder's.
    """

    rate_hz = RATE_HZ

    def __init__(
        self, ir: Doubles, noise_db: float, *, bend: float = 0.0, ratio: float = 1.0
    ) -> None:
        import numpy as np

        self._ir = np.concatenate([np.zeros(LATENCY), ir])
        self._noise_db, self._bend, self._ratio = noise_db, bend, ratio
        self._random = np.random.default_rng(1)
        self.sound_s = 0.0

    def take(self, sound: Floats) -> Floats:
        """See Loop."""
        import numpy as np

        played = sound[0].astype(np.float64)
        loudest = float(np.abs(played).max())
        if self._bend:
            played = _bent(played, self._bend / max(loudest, 1e-9) ** 2)
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


def _bent(sound: Doubles, bend: float, factor: int = 4) -> Doubles:
    """A cubic at a higher rate: an analog one has no aliases."""
    import numpy as np

    frames = len(sound) + len(sound) % 2
    spectrum = np.zeros(frames * factor // 2 + 1, np.complex128)
    spectrum[: frames // 2 + 1] = np.fft.rfft(sound, frames)
    fine = np.fft.irfft(spectrum, frames * factor) * factor
    fine -= bend * fine**3
    bent = np.fft.irfft(np.fft.rfft(fine)[: frames // 2 + 1] / factor, frames)
    return np.asarray(bent[: len(sound)])


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


def figures() -> Iterator[Figure]:
    """All figures, one by one."""
    steps: tuple[Callable[[], Iterator[Figure]], ...] = (
        exactness,
        _distortion,
        _acoustics,
        _walk,
    )
    for step in steps:
        yield from step()


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
        share = percent / 100
        bend = 4 * share / (1 + 3 * share)
        measured = _measured(SimulatedLoop(ir, -90.0, bend=bend))
        found = np.abs(np.fft.rfft(measured.samples[0], 1 << 16))
        changes = []
        for low_hz in (100, 400, 1600, 6400):
            band = (hz >= low_hz) & (hz < 2 * low_hz)
            changes.append(10 * np.log10(np.sum(found[band] ** 2) / np.sum(true[band] ** 2)))
        told = measured.paths[0].take.distortion.share[3]
        name = f"{percent} % of third harmonic"
        yield Figure(f"{name}: change of the response", float(np.abs(changes).max()), 0.2, "dB")
        yield Figure(f"{name}: error of its share", 100 * abs(told / share - 1), 10.0, "%")


def _acoustics() -> Iterator[Figure]:
    import numpy as np

    from dsp.acoustics import measure
    from dsp.synthesis import Synthesiser
    from firmware_py.measure.report import figures as told
    from firmware_py.rooms.source import find_source
    from models.latent import latent_of

    source = find_source(None)
    errors: list[Doubles] = []
    ranges: list[float] = []
    for place in PLACES:
        room = source.energy_map(*(latent_of(knob) for knob in place))
        ir = Synthesiser(RATE_HZ, room.grid)(room)[0]
        ir /= np.sqrt(np.sum(ir**2))
        true = measure(ir, RATE_HZ)
        loop = SimulatedLoop(ir.astype(np.float64), -30.0)
        path = _measured(loop, 12.0).paths[0]
        own = told(path.figures)
        ranges.append(path.take.range_db)
        errors.append(
            np.stack(
                [
                    100 * np.abs(own["t30_s"] / true.t30_s - 1),
                    100 * np.abs(own["edt_s"] / true.edt_s - 1),
                    np.abs(own["c50_db"] - true.c50_db),
                ]
            )
        )
    every = np.concatenate(errors, axis=1)
    rows = (("T30", 2.0, "%"), ("EDT", 3.0, "%"), ("C50", 0.3, "dB"))
    for (name, bar, unit), row in zip(rows, every, strict=True):
        what = f"{len(PLACES)} rooms, pink noise at -30 dB: {name},"
        yield Figure(f"{what} median", float(np.nanmedian(row)), bar, unit)
        yield Figure(f"{what} worst octave", float(np.nanmax(row)), bar, unit)
        masked = 100 * float(np.mean(np.isnan(row)))
        yield Figure(f"{what} not measurable", masked, 100.0, "% of octaves")
    yield Figure("peak under noise, least", -min(ranges), -85.0, "dB")


def _walk() -> Iterator[Figure]:
    loop = SimulatedLoop(_room(), -60.0)
    begin = time.monotonic()
    _measured(loop, None)
    yield Figure(
        "computing, from the first level to the response", time.monotonic() - begin, 5, "s"
    )
