"""cards: the pedal boots to sound with the sound cards that people own, made up by pedal_card.c.

A tone is at the cards' inputs; what leaves their outputs is measured in the kernel. The pedal has
the setting card "auto".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

from guest import Guest
from report import Report

TONE = 8000
"""Peak of the tone at the inputs, of 32767."""
HEARD_S = 60.0
SETTINGS = "card=auto block_frames=256 periods=2 capture_channels=0 playback_channels=0"
WIRE = "gain=0 mix=0 limiter=off bypass=off lowpass=off highpass=off"
"""The pedal passes its input as it is."""
HEARD = "/sys/module/pedal_card/parameters/heard"
DRIVER = "/sys/bus/platform/drivers/pedal_card"
CODEC = "audioinjectorpi"
"""nverb knows a starting point for this card."""
CAPTURE = f"amixer -c {CODEC} cget name='Capture Volume' | sed -n 's/.*: values=//p'"


class Add(Protocol):
    def __call__(self, what: str, figure: object, bar: str = "", *, ok: bool = True) -> None: ...


def check(guest: Guest, report: Report) -> None:
    """On a board that plays: it gets other cards, and is switched on again with each."""
    guest.run(f"nverb settings set {SETTINGS}")
    guest.run(f"nverb set {WIRE}; nverb preset save wire; nverb preset startup wire")
    guest.switch_off()
    add = partial(report.add, "cards", guest.platform.arch)
    with _booted(guest, "id=USB rate=44100") as board:
        peak, audio = _heard(board, 0), board.status()["audio"]
        figure = f"peak {peak} at {audio['rate_hz']} Hz, {audio['block_frames']} frames"
        good = _exact(peak) and (audio["rate_hz"], audio["block_frames"]) == (44100, 256)
        add("card that only does 44.1 kHz", figure, f"{TONE} at 44100 Hz, 256 frames", ok=good)
    with _booted(guest, "id=vc4hdmi,USB records=0,1") as board:
        peak = _heard(board, 1)
        add("HDMI first, then a card with inputs", f"peak {peak}", f"{TONE}", ok=_exact(peak))
    with _booted(guest, "id=DAC,Dongle plays=1,0 records=0,1") as board:
        peak = _heard(board, 0)
        add("one card for input, one for output", f"peak {peak}", f"{TONE}", ok=_exact(peak))
    with _booted(guest, f"id={CODEC},Unknown mixer=1,1") as board:
        peak = _heard(board, 0)
        add("mixer mute at power-on", f"peak {peak}", f"{TONE}", ok=_exact(peak))
        kept = _mixer(board, add)
        board.cut_power()
    with _booted(guest, f"id={CODEC} mixer=1") as board:
        _restored(board, add, "power cut, and on again", kept)


@contextmanager
def _booted(guest: Guest, module: str) -> Iterator[Guest]:
    """The board, switched on with these cards in place of snd-aloop."""
    words = " ".join(f"pedal_card.{word}" for word in module.split())
    board = Guest(
        guest.platform,
        name=f"{guest.platform.arch} {module}",
        disk=guest.disk,
        words=f"modprobe.blacklist=snd_aloop {words}",
    )
    with board:
        board.boot()
        yield board


def _heard(board: Guest, card: int) -> int:
    """Waits for the tone at a card's output; its peak, once the controls' ramps are over."""
    peak = f"$(cut -d, -f{card + 1} {HEARD})"
    board.wait(f"[ {peak} -ge {TONE // 2} ]", timeout_s=HEARD_S, what=f"sound from card {card}")
    return int(board.run(f"sleep 1; echo {peak}"))


def _exact(peak: int) -> bool:
    return abs(peak - TONE) <= 2


def _mixer(board: Guest, add: Add) -> str:
    """What `nverb card` does with a real mixer; the capture volume that it keeps."""
    told = board.run("journalctl -b -u nverb-jack -o cat | grep 'mixer of' | tail -1").strip()
    add("what the log says", told, ok=CODEC in told)
    board.run("nverb card restore Unknown")
    muted = board.run("nverb card show Unknown | grep MUTED || true").strip()
    add("mixer of a card that nverb does not know", muted or "open", "open", ok=not muted)
    board.run(f"echo pedal_card.1 > {DRIVER}/unbind")  # JACK would move to it below
    board.run(f"amixer -q -c {CODEC} cset name='Capture Volume' 15; sleep 1")
    level = board.run(f"nverb card level {CODEC}").strip()
    right = "too quiet" in level and "right" in level and "kept" in level
    add("nverb card level, from 12 dB below", level.splitlines()[-2], "right", ok=right)
    kept = board.run(CAPTURE).strip()
    board.run(f"echo pedal_card.0 > {DRIVER}/unbind; sleep 2; echo pedal_card.0 > {DRIVER}/bind")
    _restored(board, add, "card pulled and put back", kept)
    return kept


def _restored(board: Guest, add: Add, what: str, kept: str) -> None:
    peak, now = _heard(board, 0), board.run(CAPTURE).strip()
    figure = f"peak {peak}, capture volume {now}"
    add(what, figure, f"{TONE}, {kept}", ok=_exact(peak) and now == kept)
