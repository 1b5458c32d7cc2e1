"""The MIDI support of this machine: ALSA's sequencer."""

from __future__ import annotations

import os


def usual_api() -> str:
    """ "alsa" if the machine has ALSA's sequencer, else "off"."""
    return "alsa" if os.path.exists("/dev/snd/seq") else "off"
