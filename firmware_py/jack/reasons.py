"""Why jackd did not start: its own reason out of its messages, and what to do about it.

jackd ends every failure with the same lines ("Failed to open server"); the reason is further up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from firmware_py.base.service import is_used
from firmware_py.jack import cards, pipewire
from firmware_py.jack.cards import WAYS, Choice


@dataclass(frozen=True)
class Reason:
    """culprit: the setting that the card refused; "card" if no other setting would help."""

    text: str
    remedy: str = ""
    culprit: str = ""

    def __str__(self) -> str:
        return f"{self.text}: {self.remedy}" if self.remedy else self.text


_PLUG = "let ALSA convert: write plughw: in place of hw: in the card's name"
_PATTERNS = (
    (r"Permission denied", "this user may not open it",
     "sudo usermod -aG audio USER, then log in again", "card"),
    (r"[Tt]oo many servers already active", "eight JACK servers are running, which is JACK's limit",
     "stop those that you do not need", "card"),
    (r"server already active|is already running", "a JACK server of this name is running",
     "stop it first, or set JACK_DEFAULT_SERVER", "card"),
    (r"Cannot get card index for (\S+)", "there is no sound card {0}",
     "`nverb doctor` lists those here", "card"),
    (r"No such device|No such file or directory", "there is no such sound card",
     "`nverb doctor` lists those here", "card"),
    (r"cannot set sample/frame rate to (\d+)", "it refuses {0} Hz",
     "choose another rate_hz with `nverb settings`", "rate_hz"),
    (r"sample rates do not match \(([^)]*)\)", "input and output run at different rates ({0} Hz)",
     "choose another rate_hz with `nverb settings`", "rate_hz"),
    (r"cannot set period size to (\d+)", "it refuses a block of {0} frames",
     "choose another block_frames with `nverb settings`", "block_frames"),
    (r"requested an interrupt every (\d+) frames", "it refuses a block of {0} frames",
     "choose another block_frames with `nverb settings`", "block_frames"),
    (r"cannot set number of periods to (\d+)", "it refuses {0} periods",
     "choose another number of periods with `nverb settings`", "periods"),
    (r"got smaller periods (\d+) than (\d+)", "it has {0} periods, not {1}",
     "choose another number of periods with `nverb settings`", "periods"),
    (r"cannot set buffer length to (\d+)", "it refuses a buffer of {0} frames",
     "choose another number of periods with `nverb settings`", "periods"),
    (r"cannot set channel count to (\d+) for (\w+)", "it refuses {0} channels for {1}",
     "set capture_channels or playback_channels with `nverb settings`", "card"),
    (r"any of the hardware sample formats", "it has no sample format that JACK knows", _PLUG,
     "card"),
    (r"mmap-based access is not possible", "it cannot share its buffer with JACK", _PLUG, "card"),
    (r"cannot set hardware parameters for (\w+)", "it refuses block, rate and periods for {0}",
     "choose others with `nverb settings`", ""),
    (r"Falling back to (capture|playback)-only mode", "only {0} works, the other direction does "
     "not open", "name another card with `nverb settings`", "card"),
)  # fmt: skip
_BUSY = re.compile(r"already in use|resource busy|cannot be acquired", re.IGNORECASE)
_NOISE = re.compile(
    r"^(Failed to open server|JackServer::Open failed|Cannot initialize driver|Cleaning up|"
    r"Released audio card|Acquire|Acquired|jackdmp |Copyright |jackd[12]? |This is free|"
    r"under certain|JACK server starting|creating alsa|configuring |self-connect|control open|"
    r"ALSA lib .*snd_config|no message buffer|Cannot lock down|Cannot use real-time|"
    r"audio_reservation_init|no playback configurations|\W*$)"
)


def reason(log: str, choice: Choice | None) -> Reason:
    """The reason in jackd's messages. `choice`: what it should open; None: no sound card."""
    if choice is not None and _BUSY.search(log):
        return busy(choice)
    for pattern, text, remedy, culprit in _PATTERNS:
        if found := re.search(pattern, log):
            return Reason(text.format(*found.groups()), remedy, culprit)
    lines = [line.strip() for line in log.splitlines() if not _NOISE.match(line.strip())]
    return Reason(lines[-1] if lines else "it gave no reason")


def busy(choice: Choice) -> Reason:
    """Another program has the card: which, and how to get it."""
    holders = (cards.holder(choice.name(way), way) for way in WAYS)
    who = next((found for found in holders if found), "another program")
    return Reason(f"{who} uses it", remedy_for(who), "card")


def remedy_for(holder: str) -> str:
    """How to get the card from the program `holder`, see cards.holder."""
    if holder.startswith(("pipewire", "wireplumber")):
        if is_used():
            return "log out of the desktop: PipeWire has the card while somebody is logged in there"
        if pipewire.library() is None:
            return (
                "`nverb run` plays through PipeWire once its JACK library is there: "
                "sudo apt-get install pipewire-jack"
            )
        return "`nverb run` without --card plays through it"
    if holder.startswith("pulseaudio"):
        return "systemctl --user stop pulseaudio.socket pulseaudio.service"
    if holder.startswith("jackdbus"):
        return "jack_control stop"
    return "stop it, or wait until it is done"
