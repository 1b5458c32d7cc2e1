"""The sound cards of the settings, where PipeWire has them: which of its ports the pedal uses.

PipeWire's devices are nodes; those of a sound card know its number. In JACK their ports are named
by the device's description, `USB Audio Analog Stereo:playback_FL`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from firmware_py.jack import cards
from firmware_py.jack.cards import WAYS
from firmware_py.jack.pipewire import ASK_S
from firmware_py.link.status import JackStatus
from firmware_py.state import card_name
from firmware_py.state.card_name import CardName
from firmware_py.state.settings import Settings

_NUMBERS = ("api.alsa.pcm.card", "alsa.card", "api.alsa.card")
"""The properties that may have the number of a node's card: it depends on PipeWire's version."""
_CLASSES = {"capture": ("Audio/Source", "Audio/Duplex"), "playback": ("Audio/Sink", "Audio/Duplex")}


def use_cards(
    settings: Settings, environment: Mapping[str, str], report: JackStatus
) -> dict[str, str]:
    """What the audio process needs in its environment besides `environment`, for the cards that
    the settings name; the devices that the desktop has chosen need nothing.

    Writes to `report` which cards these are, and why one is not used.
    """
    found: dict[str, str] = {}
    missing: list[str] = []
    for way in WAYS:
        text = getattr(settings, f"{way}_card")
        name = card_name.parse(settings.card if text == "same" else text)
        if name is None:  # "auto"
            continue
        ports = _ports(name, way, environment)
        if ports:
            found[f"NVERB_{way.upper()}_PORTS"] = ports
            report["capture" if way == "capture" else "playback"] = str(name)
        else:
            missing.append(f"{name} does not {WAYS[way]} in PipeWire")
    report["changed"] = "; ".join(missing)
    return found


def _ports(name: CardName, way: str, environment: Mapping[str, str]) -> str:
    """A regular expression (POSIX, extended) for JACK's names of its ports; "" if it has none."""
    card = cards.find(name)
    if card is None:
        return ""
    for serial in _nodes(card.number, name.device, way):
        # With PIPEWIRE_NODE PipeWire's JACK library lists the ports of that node only. Without
        # the other properties it does not call those of the default device "system".
        only = {"PIPEWIRE_NODE": serial, "PIPEWIRE_PROPS": ""}
        for port in _lines(["jack_lsp"], {**environment, **only}).splitlines():
            client, _, short_name = port.rpartition(":")
            if short_name.startswith(f"{way}_"):
                literal = "".join(c if c.isalnum() or c in " _-" else "." for c in client)
                return f"^{literal}:{way}_"
    return ""


def _nodes(number: int, device: int, way: str) -> Iterator[str]:
    """The serial numbers of the card's nodes for that direction, those of the device first."""
    try:
        objects: list[dict[str, Any]] = json.loads(_lines(["pw-dump"], {}))
    except ValueError:
        return
    found: list[tuple[bool, str]] = []
    for each in objects:
        properties = (each.get("info") or {}).get("props") or {}
        numbers = {str(properties[key]) for key in _NUMBERS if key in properties}
        kind = str(properties.get("media.class", ""))
        if kind.startswith(_CLASSES[way]) and str(number) in numbers:
            other = str(properties.get("alsa.device", device)) != str(device)
            found.append((other, str(properties.get("object.serial", ""))))
    yield from (serial for _, serial in sorted(found))


def _lines(command: list[str], environment: Mapping[str, str]) -> str:
    """What the command prints; "" if it fails."""
    try:
        return subprocess.run(
            command,
            env=os.environ | dict(environment),
            capture_output=True,
            text=True,
            timeout=ASK_S,
            check=False,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
