"""sound: the dry and the wet path are exact, without dropouts."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import farend
import numpy as np
import signals
import soundfile
from guest import Guest
from push import nverb
from report import Report

PLAIN = "gain=0 predelay=0 lowpass=off highpass=off limiter=off bypass=off width=1 x=3 y=6 z=4"
CLIP_S = 6.0
ROOM_S = 3.5
"""Start of the steady part, after the start of the clip; longer than the room's IR."""


def check(guest: Guest, report: Report) -> None:
    board = guest.platform.arch

    def add(what: str, figure: object, bar: str = "", *, ok: bool = True) -> None:
        report.add("sound", board, what, figure, bar, ok=ok)

    clip = signals.clip(CLIP_S)
    guest.run(f"nverb set {PLAIN} mix=0; sleep 1")
    heard = farend.play(guest, clip, seconds=CLIP_S + 3)
    lag = signals.delay(clip[:, 0], heard[:, 0])
    dry = heard[lag : lag + len(clip)]
    error = signals.difference_db(clip[: len(dry)], dry)
    add(
        "dry path against the played clip",
        f"{error:.0f} dB",
        "<= -120 dB",
        ok=len(dry) == len(clip) and error <= -120,
    )

    guest.run("nverb set mix=100; sleep 2")
    heard = farend.play(guest, clip, seconds=CLIP_S + 3)
    wanted = _rendered(clip)
    lag = signals.delay(wanted[:, 0], heard[:, 0])
    steady = slice(round(ROOM_S * signals.RATE_HZ), round(CLIP_S * signals.RATE_HZ))
    error = signals.difference_db(wanted[steady], heard[lag:][steady])
    add(
        "wet path against nverb render, steady part",
        f"{error:.0f} dB",
        "<= -60 dB",
        ok=error <= -60,
    )
    guest.run("nverb set mix=0; sleep 0.5")

    begun = time.monotonic()
    before = guest.status()["audio"]
    with farend.PilotTone(guest) as tone:
        guest.run("sleep 8")
    after = guest.status()["audio"]
    found = tone.listen()
    seconds = found.last_s - found.first_s
    add(
        "dropouts in a pilot tone",
        f"{len(found.breaks_s)} in {seconds:.0f} s",
        "0",
        ok=not found.breaks_s and seconds > 8,
    )
    level = 20 * np.log10(found.amplitude / signals.PILOT_AMPLITUDE)
    add("its level", f"{level:+.3f} dB", "0 +-0.01 dB", ok=abs(level) <= 0.01)
    blocks = after["blocks"] - before["blocks"]
    add(
        "mean load of the callback (guest's clock)",
        f"{100 * after['load']:.1f} % over {blocks} blocks",
    )
    rate = seconds / (time.monotonic() - begun)
    add("guest's clock against this machine's", f"{rate:.2f}")


def _rendered(clip: signals.Floats) -> signals.Floats:
    """The clip by `nverb render` on this machine. Its room must equal that of the board."""
    with tempfile.TemporaryDirectory() as scratch:
        desk = Path(scratch)
        (desk / "clip.wav").write_bytes(signals.wav(clip))
        words = [word for name in f"{PLAIN} mix=100".split() for word in ("--set", name)]
        nverb("render", str(desk / "clip.wav"), str(desk / "wet.wav"), *words, data=desk)
        wet, _ = soundfile.read(desk / "wet.wav", dtype="float64", always_2d=True)
    return np.asarray(wet)
