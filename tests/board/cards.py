"""cards: the pedal boots to sound with the sound cards that people own, made up by pedal_card.c.

A tone is at the cards' inputs; what leaves their outputs is measured in the kernel. The pedal has
its default settings: card "auto".
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
HEARD = "/sys/module/pedal_card/parameters/heard"
DRIVER = "/sys/bus/platform/drivers/pedal_card"
WIRE = "gain=0 mix=0 limiter=off bypass=off lowpass=off highpass=off"
"""The pedal passes its input as it is: what is heard is what came in."""


class Add(Protocol):
    def __call__(self, what: str, figure: object, bar: str = "", *, ok: bool = True) -> None: ...


def check(guest: Guest, report: Report) -> None:
    """On a board that plays: it gets other cards, and is switched on again with each."""
    guest.run(f"nverb settings set {SETTINGS}; nverb set {WIRE}; sleep 2")
    guest.switch_off()
    add = partial(report.add, "cards", guest.platform.arch)
    with _booted(guest, "id=USB rate=44100") as board:
        heard, audio = _heard(board, 0), board.status()["audio"]
        figure = f"peak {heard} at {audio['rate_hz']} Hz, {audio['block_frames']} frames"
        add("card that only does 44.1 kHz", figure, "sound, 44100 Hz", ok=audio["rate_hz"] == 44100)
    with _booted(guest, "id=vc4hdmi,USB records=0,1") as board:
        add(
            "HDMI first, then a card with inputs", f"peak {_heard(board, 1)}", "sound on the second"
        )
    _mute_mixer(guest, add)


@contextmanager
def _booted(guest: Guest, module: str) -> Iterator[Guest]:
    """The board, switched on with these cards in place of snd-aloop."""
    words = " ".join(f"pedal_card.{word}" for word in module.split())
    board = Guest(
        guest.platform,
        name=f"{guest.platform.arch} {module.split(maxsplit=1)[0]}",
        disk=guest.disk,
        words=f"modprobe.blacklist=snd_aloop {words}",
    )
    with board:
        board.boot(timeout_s=1800)
        yield board


def _heard(board: Guest, card: int, *, least: int = TONE // 2) -> int:
    """Waits for a tone of at least that peak at a card's output; its peak."""
    peak = f"$(cut -d, -f{card + 1} {HEARD})"
    board.wait(f"[ {peak} -ge {least} ]", timeout_s=HEARD_S, what=f"sound from card {card}")
    return int(board.run(f"echo {peak}"))


def _mute_mixer(guest: Guest, add: Add) -> None:
    """A codec that is mute after power-on: the maker's values, then kept ones after a power cut."""
    name = "audioinjectorpi"
    read = f"amixer -c {name} cget name='Capture Volume' | sed -n 's/.*: values=//p'"
    with _booted(guest, f"id={name},Unknown mixer=1,1") as board:
        add("mixer mute at power-on", f"peak {_heard(board, 0)}", "sound")
        told = board.run("journalctl -b -u nverb-jack -o cat | grep 'mixer of' | tail -1").strip()
        add("what the log says", told, ok=name in told)
        board.run("nverb card restore Unknown")
        muted = board.run("nverb card show Unknown | grep MUTED || true").strip()
        add("mixer of a card that nverb does not know", muted or "open", "open", ok=not muted)
        board.run(
            f"echo pedal_card.1 > {DRIVER}/unbind"
        )  # else it would replace the one that is pulled
        board.run(f"amixer -q -c {name} cset name='Capture Volume' 15; sleep 1")
        level = board.run(f"nverb card level {name}", timeout_s=1800).strip()
        right = "right" in level and "kept" in level
        add("nverb card level, from 12 dB below", level.splitlines()[-2], "right", ok=right)
        kept = board.run(read).strip()
        board.run(
            f"echo pedal_card.0 > {DRIVER}/unbind; sleep 2; echo pedal_card.0 > {DRIVER}/bind"
        )
        heard = _heard(board, 0)
        now = board.run(read).strip()
        figure = f"peak {heard}, capture volume {now}"
        add("card pulled and put back", figure, f"sound, {kept} as kept", ok=now == kept)
        board.cut_power()
    with _booted(guest, f"id={name} mixer=1") as board:
        heard, now = _heard(board, 0), board.run(read).strip()
        figure = f"peak {heard}, capture volume {now}"
        add("power cut, and on again", figure, f"sound, {kept} as kept", ok=now == kept)
