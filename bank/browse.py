"""A page of the recordings of a folder or a bank: waveform, spectrogram, T30 per octave, place on
the cube, and a player for a dry clip through each. HTML for any browser, without a network."""

from __future__ import annotations

import base64
import html
import math
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bank.format import Point
from bank.recording import at_rate
from bank.sound import write_sound
from dsp.acoustics import OCTAVES_HZ, measure
from dsp.energymap import erb_to_hz, hz_to_erb
from dsp.loudness import normalise
from models.files import write_atomically
from models.latent import knob_of

Floats = NDArray[np.float32]

CLIP_HZ = 48_000
WIDTH, HEIGHT = 260, 96
"""Of a waveform and of a spectrogram, in pixels."""
DEPTH_DB = 80.0
WET, DRY = 0.7, 0.5


class Shown(NamedTuple):
    """A recording for the page; `at`: its place, None if none is known."""

    name: str
    samples: Floats
    rate_hz: int
    at: Point | None


def write_page(
    folder: Path,
    title: str,
    recordings: Iterable[Shown],
    clip: Floats,
) -> int:
    """Write index.html and a sound for each recording into `folder`. Returns how many.

    `clip`: dry, float32 (frames, 2) at CLIP_HZ. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, one in enumerate(recordings, 1):
        sound = f"{number:05d}.flac"
        wet = through(clip, one)
        write_sound(
            folder / sound,
            CLIP_HZ,
            2,
            lambda file, wet=wet: file.write(wet),  # type: ignore[misc]
            durable=False,
        )
        rows.append(_row(number, one, sound))
    page = _PAGE.format(
        title=html.escape(title),
        octaves="".join(f"<th>{_hz(octave)}</th>" for octave in OCTAVES_HZ),
        rows="\n".join(rows),
    )
    write_atomically(
        folder / "index.html", lambda file: file.write(page.encode(errors="replace")), durable=False
    )
    return len(rows)


def through(clip: Floats, recording: Shown) -> Floats:
    """The clip in the room at the level of every room, float32 (frames, 2), at most full scale."""
    ir = normalise(at_rate(recording.samples, recording.rate_hz, CLIP_HZ), CLIP_HZ)
    size = 1 << (len(clip) + ir.shape[1] - 2).bit_length()
    spectra, dry = np.fft.rfft(ir, size), np.fft.rfft(clip.T, size)
    if len(ir) == 4:
        wet = np.stack([dry[0] * spectra[out] + dry[1] * spectra[2 + out] for out in range(2)])
    else:
        wet = dry * spectra
    frames = min(len(clip) + ir.shape[1], size)
    mixed = WET * np.fft.irfft(wet, size)[:, :frames]
    mixed[:, : len(clip)] += DRY * clip.T
    return np.ascontiguousarray((mixed / max(np.abs(mixed).max(), 1.0)).T, np.float32)


def _row(number: int, one: Shown, sound: str) -> str:
    loudest = one.samples[int(np.argmax((one.samples.astype(np.float64) ** 2).sum(axis=1)))]
    times = measure(loudest, one.rate_hz).t30_s
    cells = "".join(f"<td>{t:.2f}</td>" if math.isfinite(t) else "<td>-</td>" for t in times)
    place = ""
    if one.at is not None:
        knobs = [knob_of(value) for value in one.at]
        place = f"{_cube(knobs)}<br>x {knobs[0]:.2f} y {knobs[1]:.2f} z {knobs[2]:.2f}"
    about = f"{len(one.samples)} ch, {one.samples.shape[1] / one.rate_hz:.2f} s, {one.rate_hz} Hz"
    return (
        f"<tr><td>{number}</td><td><b>{html.escape(one.name)}</b><br>{about}<br>"
        f'<audio controls preload="none" src="{sound}"></audio></td>'
        f"<td>{waveform(one.samples)}</td>"
        f'<td><img width="{WIDTH}" height="{HEIGHT}" alt="spectrogram" '
        f'src="{picture(spectrogram(loudest, one.rate_hz))}"></td>'
        f"<td>{place}</td>{cells}</tr>"
    )


def _hz(octave: float) -> str:
    return f"{octave:g}" if octave < 1000 else f"{octave / 1000:g}k"


def waveform(samples: Floats) -> str:
    """Peaks of the first and the last channel, above and below a line, as SVG."""
    columns = min(WIDTH, samples.shape[1])
    edges = np.arange(columns) * samples.shape[1] // columns
    peak = max(float(np.abs(samples).max()), 1e-12)
    height = HEIGHT / 2
    lines = []
    for channel, side in ((samples[0], -1), (samples[-1], 1)):
        peaks = np.maximum.reduceat(np.abs(channel), edges) / peak
        points = " ".join(
            f"{x * WIDTH / columns:.1f},{height + side * height * float(value):.1f}"
            for x, value in enumerate(peaks)
        )
        lines.append(f'<polygon points="0,{height} {points} {WIDTH},{height}"/>')
    return f'<svg width="{WIDTH}" height="{HEIGHT}">{"".join(lines)}</svg>'


def _cube(knobs: list[float]) -> str:
    """X and Y as a dot, Z as its darkness."""
    x, y, z = (value / 9 for value in knobs)
    return (
        f'<svg width="72" height="72"><rect class="cube" x="1" y="1" width="70" height="70"/>'
        f'<circle cx="{4 + 64 * x:.1f}" cy="{68 - 64 * y:.1f}" r="4" '
        f'fill="hsl(220 80% {75 - 55 * z:.0f}%)"/></svg>'
    )


def spectrogram(sound: Floats, rate_hz: int) -> NDArray[np.uint8]:
    """Levels over time and frequency (ERB), (HEIGHT, WIDTH), 0 .. 255 for DEPTH_DB; low at the
    bottom."""
    window = 1024
    hop = max(1, len(sound) // WIDTH)
    padded = np.pad(sound, (window // 2, window + hop * WIDTH))
    at = np.arange(WIDTH)[:, None] * hop + np.arange(window)
    power = np.abs(np.fft.rfft(padded[at] * np.hanning(window))) ** 2
    top = hz_to_erb(min(20_000.0, rate_hz / 2))
    hz = erb_to_hz(np.linspace(top, hz_to_erb(40.0), HEIGHT))
    bins = np.clip(np.rint(hz * window / rate_hz).astype(int), 1, window // 2)
    level = 10 * np.log10(power[:, bins].T + 1e-20)
    share = np.clip(1 + (level - level.max()) / DEPTH_DB, 0, 1)
    return np.asarray(np.rint(255 * share), np.uint8)


def picture(grey: NDArray[np.uint8]) -> str:
    """A PNG of 256 colours from black over red to yellow, as a data URL."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    rows = np.hstack([np.zeros((len(grey), 1), np.uint8), grey])
    shade = np.arange(256) / 255
    colours = np.stack([np.sqrt(shade), shade**2, 0.5 * np.sin(np.pi * shade)], axis=1)
    size = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 3, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            chunk(b"IHDR", size),
            chunk(b"PLTE", np.rint(255 * colours).astype(np.uint8).tobytes()),
            chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)),
            chunk(b"IEND", b""),
        )
    )
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 14px/1.4 sans-serif; margin: 1em; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: 4px 8px; border-bottom: 1px solid #ccc; text-align: left; }}
polygon {{ fill: #357; }} .cube {{ fill: none; stroke: #999; }}
audio {{ width: 220px; }}
</style></head><body><h1>{title}</h1>
<p>T30 in seconds for each octave (ISO 3382-1). The dot is x and y, its darkness z. The players
have a dry clip through each recording, at the level that the pedal gives it.</p>
<table><tr><th></th><th>recording</th><th>waveform</th><th>spectrogram</th><th>place</th>{octaves}
</tr>
{rows}
</table></body></html>
"""
