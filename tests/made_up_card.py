"""A sound card that is not there: /proc/asound, and `amixer` and `alsactl` for its mixer.

The replacement is at the border of the process, because ALSA has no mixer without a driver. What
the two programs print is what alsa-utils 1.2.8 printed for tests/board/pedal_card.c, a driver in
the emulated boards, where the same is done with the real programs (tests/board/cards.py).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from firmware_py.jack import cards

Row = tuple[str, str, Sequence[int], Mapping[str, object]]
"""Name, kind, values after power-on, and what else `amixer contents` prints."""


def volume(
    name: str, first: int, high: int, low_db: float, step_db: float, channels: int = 2
) -> Row:
    decibels = f"dBscale-min={low_db:.2f}dB,step={step_db:.2f}dB,mute=0"
    return name, "INTEGER", [first] * channels, {"high": high, "decibels": decibels}


def switch(name: str, first: bool = False) -> Row:
    return name, "BOOLEAN", [int(first)], {}


def choice(name: str, first: int, *items: str) -> Row:
    return name, "ENUMERATED", [first], {"items": list(items)}


WM8731 = (
    volume("Master Playback Volume", 0, 127, -121, 1),
    volume("Capture Volume", 0, 31, -34.5, 1.5),
    switch("Line Capture Switch"),
    switch("Mic Capture Switch"),
    switch("Output Mixer HiFi Playback Switch"),
    switch("Output Mixer Line Bypass Switch"),
    choice("Input Mux", 1, "Line In", "Mic"),
)
"""An Audio Injector's codec after power-on: mute."""

PROGRAM = """
import json, pathlib, re, sys
file = pathlib.Path({file!r})
card = json.loads(file.read_text())
words = sys.argv[1:]
identifier = words[words.index("-c") + 1] if "-c" in words else words[-1]
with open(file.with_name("log"), "a") as log:
    print(sys.argv[0].rpartition("/")[2], *words, file=log)
if identifier != card["identifier"]:
    sys.exit("Invalid card number '" + identifier + "'.")

def show(row, value):
    return ("off", "on")[value] if row["kind"] == "BOOLEAN" else str(value)

def store():
    file.write_text(json.dumps(card))

if "contents" in words:
    for number, row in enumerate(card["controls"], 1):
        kind, values = row["kind"], row["values"]
        print(f"numid={{number}},iface=MIXER,name='{{row['name']}}'")
        more = {{
            "INTEGER": f",min=0,max={{row.get('high')}},step=0",
            "ENUMERATED": f",items={{len(row.get('items', []))}}",
        }}
        access = "rw---R--" if "decibels" in row else "rw------"
        print(f"  ; type={{kind}},access={{access}},values={{len(values)}}{{more.get(kind, '')}}")
        for place, item in enumerate(row.get("items", [])):
            print(f"  ; Item #{{place}} '{{item}}'")
        print("  : values=" + ",".join(show(row, value) for value in values))
        if "decibels" in row:
            print("  | " + row["decibels"])
elif "-s" in words:
    for number, value in re.findall(r"^cset numid=(\\d+) (\\S+)$", sys.stdin.read(), re.MULTILINE):
        row = card["controls"][int(number) - 1]
        code = {{"on": 1, "off": 0}}[value] if value in ("on", "off") else int(value)
        row["values"] = [code] * len(row["values"])
    store()
elif "store" in words:
    print(f"state.{{identifier}} {{{{")
    for number, row in enumerate(card["controls"], 1):
        print(f"\\tcontrol.{{number}} {{{{\\n\\t\\tname '{{row['name']}}'")
        print(f"\\t\\tvalue {{row['values'][0]}}\\n\\t}}}}")
    print("}}")
elif "restore" in words:
    state = pathlib.Path(words[words.index("-f") + 1]).read_text()
    if "state." + identifier not in state:
        sys.exit("alsactl: No state is present for card " + identifier)
    for name, value in re.findall(r"name '(.*)'\\n\\t\\tvalue (-?\\d+)", state):
        for row in card["controls"]:
            if row["name"] == name:
                row["values"] = [int(value)] * len(row["values"])
    store()
"""


class MadeUpCard:
    """The only card of this machine, while the test runs."""

    def __init__(
        self,
        folder: Path,
        patch: pytest.MonkeyPatch,
        rows: Sequence[Row] = WM8731,
        *,
        identifier: str = "audioinjectorpi",
        title: str = "audioinjector-pi-soundcard",
    ) -> None:
        self.identifier, self._rows = identifier, rows
        self._file = folder / "card.json"
        self.log = folder / "log"
        self.power_on()
        programs = folder / "bin"
        programs.mkdir()
        for name in ("amixer", "alsactl"):
            program = programs / name
            program.write_text(f"#!{sys.executable}\n" + PROGRAM.format(file=str(self._file)))
            program.chmod(0o755)
        (folder / "cards").write_text(
            f" 0 [vc4hdmi0       ]: vc4-hdmi - vc4-hdmi-0\n                      vc4-hdmi-0\n"
            f" 1 [{identifier:15}]: {title[:16]} - {title}\n                      {title}\n"
        )
        (folder / "pcm").write_text(
            "00-00: vc4-hdmi : : playback 1\n01-00: codec : : playback 1 : capture 1\n"
        )
        patch.setattr(cards, "ASOUND", folder)
        patch.setenv("PATH", str(programs), prepend=":")

    def power_on(self) -> None:
        """The mixer is as its driver leaves it."""
        controls = [
            {"name": name, "kind": kind, "values": list(values), **more}
            for name, kind, values, more in self._rows
        ]
        self._file.write_text(json.dumps({"identifier": self.identifier, "controls": controls}))

    def __getitem__(self, name: str) -> list[int]:
        controls = json.loads(self._file.read_text())["controls"]
        return next(list(row["values"]) for row in controls if row["name"] == name)

    def __setitem__(self, name: str, value: int) -> None:
        card = json.loads(self._file.read_text())
        for row in card["controls"]:
            if row["name"] == name:
                row["values"] = [value] * len(row["values"])
        self._file.write_text(json.dumps(card))
