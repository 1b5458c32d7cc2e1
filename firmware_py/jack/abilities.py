"""What a sound card can do, asked before jackd opens it.

USB cards list their rates in /proc/asound; ALSA's tools print the rest, and all of it for other
cards. What is not known is taken for possible: jackd will say.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from dataclasses import dataclass, field

from firmware_py.jack import cards
from firmware_py.jack.cards import WAYS, Choice
from firmware_py.state.card_name import CardName

ASK_S = 2.0
"""Longest answer of ALSA's tools."""
TOOLS = {"capture": ("arecord", "/dev/null"), "playback": ("aplay", "/dev/zero")}
Range = tuple[int, int]


@dataclass(frozen=True)
class Abilities:
    """By setting (`rate_hz`, `block_frames`, `periods`): the ranges that all directions have."""

    ranges: dict[str, tuple[Range, ...]] = field(default_factory=dict)

    def can(self, setting: str, value: int) -> bool:
        ranges = self.ranges.get(setting)
        return ranges is None or any(low <= value <= high for low, high in ranges)

    def nearest(self, setting: str, value: int) -> int:
        """The possible value nearest to `value`: a round one, because ranges have odd ends."""
        ranges = self.ranges.get(setting)
        if ranges is None or self.can(setting, value):
            return value
        ends = [end for bounds in ranges for end in bounds]
        return min(ends, key=lambda end: abs(end - value))

    def text(self, setting: str) -> str:
        """Such as "44100, 48000" or "32 to 4096"."""
        return ", ".join(
            f"{low}" if low == high else f"{low} to {high}"
            for low, high in self.ranges.get(setting, ())
        )


def ask(choice: Choice) -> Abilities:
    """What the cards of the choice can do together. It opens them for a moment."""
    if choice.capture.plug or choice.playback.plug:
        return Abilities()
    common: dict[str, tuple[Range, ...]] = {}
    for way in WAYS:
        found = from_dump(_dump(choice.name(way), way))
        if rates := _usb_rates(choice.name(way), way):
            found["rate_hz"] = rates
        for setting, ranges in found.items():
            both = _intersection(common[setting], ranges) if setting in common else ranges
            if both:  # two cards with nothing in common: jackd will say
                common[setting] = both
    return Abilities(common)


def _usb_rates(name: CardName, way: str) -> tuple[Range, ...]:
    """The rates that a USB card lists: in all of its formats together. Empty if it lists none."""
    card = cards.find(name)
    if card is None:
        return ()
    try:
        text = (cards.ASOUND / f"card{card.number}" / f"stream{name.device}").read_text()
    except (OSError, ValueError):
        return ()
    part = re.search(rf"^{way.title()}:$(.*?)(?=^\w|\Z)", text, re.MULTILINE | re.DOTALL)
    ranges: set[Range] = set()
    for rates in re.findall(r"^\s+Rates:\s*(.*)$", part[1] if part else "", re.MULTILINE):
        numbers = [int(number) for number in re.findall(r"\d+", rates)]
        if "continuous" in rates and len(numbers) == 2:
            ranges.add((numbers[0], numbers[1]))
        else:
            ranges |= {(number, number) for number in numbers}
    return tuple(sorted(ranges))


def _dump(name: CardName, way: str) -> str:
    """What ALSA's tool prints about a device. It asks for a format that no card has, so it stops
    before it plays or records."""
    tool, file = TOOLS[way]
    sound = ("-t", "raw", "-f", "FLOAT64_BE", "-d", "1", file)
    words = ["-D", str(name), "-N", "--dump-hw-params", *sound]  # -N: do not wait for a busy card
    if shutil.which(tool) is None:
        return ""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            [tool, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ASK_S,
            check=False,
        )
        return done.stderr.decode(errors="replace")
    return ""


def from_dump(text: str) -> dict[str, tuple[Range, ...]]:
    """The ranges in the output of `aplay --dump-hw-params`."""
    found: dict[str, tuple[Range, ...]] = {}
    for setting, key in (
        ("rate_hz", "RATE"),
        ("block_frames", "PERIOD_SIZE"),
        ("periods", "PERIODS"),
    ):
        row = re.search(rf"^{key}: *(.*)$", text, re.MULTILINE)
        numbers = [int(number) for number in re.findall(r"\d+", row[1])] if row else []
        if row and len(numbers) == 2:
            low, high = numbers
            found[setting] = ((low + row[1].startswith("("), high - row[1].endswith(")")),)
        elif numbers:
            found[setting] = tuple((number, number) for number in numbers)
    return found


def _intersection(some: tuple[Range, ...], others: tuple[Range, ...]) -> tuple[Range, ...]:
    pairs = ((max(a[0], b[0]), min(a[1], b[1])) for a in some for b in others)
    return tuple(sorted({(low, high) for low, high in pairs if low <= high}))
