"""A made-up /proc/asound, and a jackd that refuses like ALSA: for machines without sound cards."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

SAYS = {
    "refuses": "ALSA: cannot set hardware parameters for playback",
    "only 44100": "ALSA: cannot set sample/frame rate to 48000 for capture",
}
TAIL = "Cannot initialize driver\nJackServer::Open failed with -1\nFailed to open server"


def write_cards(folder: Path, *cards: str) -> Path:
    """Write `folder`/cards and pcm. A card: "NUMBER:IDENTIFIER:WAYS", WAYS: both, play or rec."""
    folder.mkdir(exist_ok=True)
    names, devices = "", ""
    for card in cards:
        number, identifier, ways = card.split(":")
        names += f"{number:>2} [{identifier:<15}]: USB-Audio - {identifier} of a test\n"
        names += f"{'':22}{identifier} at usb-0000:01:00.0-1.3, high speed\n"
        does = " : playback 1" * (ways != "rec") + " : capture 1" * (ways != "play")
        devices += f"{int(number):02d}-00: {identifier} : {identifier}{does}\n"
    (folder / "cards").write_text(names or "--- no soundcards ---\n")
    (folder / "pcm").write_text(devices)
    return folder


def nverb(asound: Path, *words: str) -> list[str]:
    """The command line of an nverb command that sees the cards of `asound`."""
    code = (
        "import sys, pathlib; from firmware_py.jack import cards; "
        "cards.ASOUND = pathlib.Path(sys.argv.pop(1)); "
        "from firmware_py.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    return [sys.executable, "-c", code, os.fspath(asound), *words]


def picky_jackd(folder: Path, log: Path, says: str, plays_at_hz: int = 0) -> Mapping[str, str]:
    """An environment whose jackd writes its arguments to `log` and refuses.

    plays_at_hz: at this rate it plays instead, with the dummy driver of the real jackd.
    """
    folder.mkdir(exist_ok=True)
    script = folder / "jackd"
    script.write_text(
        f"""#!/bin/sh
echo "jackd $*" >> {log}
case "$*" in *"-r {plays_at_hz} -p "*)
    while [ "$1" != -d ]; do set -- "$@" "$1"; shift; done
    while [ "$1" != -r ]; do shift; done
    rate=$2 block=$4; shift 4
    exec {shutil.which("jackd")} "$@" -d dummy -r $rate -p $block
esac
echo "{SAYS[says]}
{TAIL}"
exit 1
"""
    )
    script.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}
