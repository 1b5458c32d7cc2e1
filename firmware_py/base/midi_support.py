"""The MIDI support of this machine: ALSA's sequencer and the package python-rtmidi."""

from __future__ import annotations

import os
import sys

from models.packages import how_to_install, sees_debian


def usual_api() -> str:
    """ "alsa" if the machine has ALSA's sequencer, else "off"."""
    return "alsa" if os.path.exists("/dev/snd/seq") else "off"


def missing_package() -> str:
    """The error if rtmidi cannot be imported, with the remedy.

    PyPI has wheels up to Python 3.12; Debian 13 has a package.
    """
    remedy = how_to_install("python-rtmidi")
    if sees_debian():
        remedy = "sudo apt-get install python3-rtmidi"
    elif sys.version_info >= (3, 13):
        remedy = (
            "sudo apt-get install g++ pkg-config python3-dev libasound2-dev libjack-jackd2-dev, "
            f"then {remedy}"
        )
    return f"MIDI needs the package python-rtmidi: {remedy}"
