"""The wiring of a board from its profile, as a picture (SVG) and as a Markdown table."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from device.adc import AdcRow
from device.chips import CHIPS
from device.profile import Profile

HEADER = [
    ("3V3", "5V"), ("GPIO2", "5V"), ("GPIO3", "GND"), ("GPIO4", "GPIO14"), ("GND", "GPIO15"),
    ("GPIO17", "GPIO18"), ("GPIO27", "GND"), ("GPIO22", "GPIO23"), ("3V3", "GPIO24"),
    ("GPIO10", "GND"), ("GPIO9", "GPIO25"), ("GPIO11", "GPIO8"), ("GND", "GPIO7"),
    ("GPIO0", "GPIO1"), ("GPIO5", "GND"), ("GPIO6", "GPIO12"), ("GPIO13", "GND"),
    ("GPIO19", "GPIO16"), ("GPIO26", "GPIO20"), ("GND", "GPIO21"),
]  # fmt: skip
"""The 40-pin header of each Raspberry Pi since the B+, by row: pins 1 and 2, 3 and 4, ...
(Raspberry Pi documentation, "GPIO")."""


@dataclass(frozen=True)
class Wire:
    """A connection. pin: on the 40-pin header, 0 if the board has none."""

    part: str
    leg: str
    to: str
    pin: int = 0


AUDIO = (
    Wire("guitar jack", "tip", "buffer or preamp (1 MOhm), to the card's input left"),
    Wire("guitar jack", "sleeve", "the card's ground"),
    Wire("output jack", "tip", "the card's output left, by 10 kOhm"),
    Wire("output jack", "tip to sleeve", "2.2 kOhm: line level to guitar level"),
    Wire("output jack", "sleeve", "the card's ground"),
)
"""The audio side, which no profile describes: docs/electrics.md."""


def pin_of(name: str, nth: int = 0) -> int:
    """The nth pin of the header with this name, 0 if there is none."""
    pins = [
        2 * row + side + 1
        for row, pair in enumerate(HEADER)
        for side in (0, 1)
        if pair[side] == name
    ]
    return pins[nth % len(pins)] if pins else 0


def wires(profile: Profile) -> list[Wire]:
    """All connections of a profile."""
    pi = profile.gpiochip is None
    found = [
        wire
        for number, adc in enumerate(profile.adcs, 1)
        for wire in _converter(adc, f"converter {number}", pi)
    ]
    for knob in profile.knobs:
        adc = profile.adcs[knob.adc]
        ends = ("GND", "its supply") if not knob.inverted else ("its supply", "GND")
        leg = CHIPS[adc.chip].input_pin.format(knob.channel)
        if knob.pedal:
            part = f"expression pedal {knob.control.name}"
            found += [
                Wire(part, "tip", f"converter {knob.adc + 1} {leg}, by 1 kOhm"),
                Wire(part, "ring", f"{max(ends)}, by 1 kOhm"),
                Wire(part, "sleeve", min(ends)),
            ]
            continue
        found += [
            Wire(f"pot {knob.control.name}", "wiper", f"converter {knob.adc + 1} {leg}"),
            Wire(f"pot {knob.control.name}", "left, right", f"{ends[0]}, {ends[1]}"),
        ]
    for switch in profile.switches:
        found.append(_line(f"switch {switch.action}", "one side (other: GND)", switch.line, pi))
    for led in profile.leds:
        found.append(_line(f"LED {led.shows}", "anode, by 1 kOhm (cathode: GND)", led.line, pi))
    return [*found, *AUDIO]


def _line(part: str, leg: str, line: int, pi: bool) -> Wire:
    return (
        Wire(part, leg, f"GPIO{line}", pin_of(f"GPIO{line}"))
        if pi
        else Wire(part, leg, f"gpiochip line {line}")
    )


def _converter(adc: AdcRow, name: str, pi: bool) -> list[Wire]:
    if not pi:
        return []
    part = f"{name} ({adc.chip.upper()})"
    return [Wire(part, leg, to, pin_of(to)) for leg, to in CHIPS[adc.chip].wires(adc)]


def table(profile: Profile) -> str:
    """The connections as a Markdown table."""
    rows = [
        f"| {wire.part} | {wire.leg} | {wire.to} | {wire.pin or ''} |" for wire in wires(profile)
    ]
    return "\n".join(["| part | leg | to | pin of the header |", "|---|---|---|---|", *rows])


_COLOURS = {"3V3": "#d33", "5V": "#d33", "GND": "#333"}
_WIRES = ("#1668b8", "#c66a12", "#188a4b", "#8b3fa8", "#a8831b", "#117f86", "#b0305c", "#5b6470")
_ROW, _TOP, _HEADER_X, _PARTS_X, _WIDTH = 26, 90, 150, 430, 1080
_STYLE = (
    "<style>text{font:13px sans-serif;fill:#222}.name{font-weight:bold}"
    ".pin{font-size:11px;paint-order:stroke;stroke:white;stroke-width:4px}"
    ".title{font-size:18px;font-weight:bold}"
    ".part{fill:#f3f5f7;stroke:#9aa4ae}.wire{fill:none;stroke-width:2}"
    ".board{fill:#e4efe4;stroke:#7a9a7a}</style>"
)
_NOTE = (
    "Pots 10 kOhm linear between ground and the converter's supply, 100 nF from wiper to ground."
    " Audio: docs/electrics.md. Made by nverb board picture."
)


def svg(profile: Profile) -> str:
    """The picture: the header on the left, parts on the right, a line for each connection."""
    everything = wires(profile)
    on_header = profile.gpiochip is None
    header = _header({wire.pin for wire in everything if wire.pin}) if on_header else []
    parts, lines, bottom = _parts(everything, on_header)
    height = max(bottom, _TOP + len(HEADER) * _ROW + 20)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"'
        f' viewBox="0 0 {_WIDTH} {height}">{_STYLE}'
        '<rect width="100%" height="100%" fill="white"/>'
        f'<text x="20" y="32" class="title">{escape(profile.title)}</text>'
        f'<text x="20" y="54">{escape(_NOTE)}</text>'
        + "".join(header[:1] + lines + header[1:] + parts)
        + "</svg>\n"
    )


def _parts(everything: list[Wire], on_header: bool) -> tuple[list[str], list[str], int]:
    """Elements of the parts, elements of the lines to the header, and the y of the bottom."""
    by_part: dict[str, list[Wire]] = {}
    for wire in everything:
        by_part.setdefault(wire.part, []).append(wire)
    parts: list[str] = []
    lines: list[str] = []
    y, place = _TOP, 0
    for part, legs in by_part.items():
        height = _ROW * len(legs)
        parts.append(
            f'<rect x="{_PARTS_X}" y="{y - 17}" width="{_WIDTH - _PARTS_X - 20}"'
            f' height="{height + 4}" rx="5" class="part"/>'
            f'<text x="{_PARTS_X + 12}" y="{y + height / 2 - 9}" class="name">{escape(part)}</text>'
        )
        for wire in legs:
            pin = f" (pin {wire.pin})" if wire.pin else ""
            text = escape(f"{wire.leg} - {wire.to}{pin}")
            parts.append(f'<text x="{_PARTS_X + 215}" y="{y}" class="leg">{text}</text>')
            if wire.pin and on_header:
                place += wire.to not in _COLOURS
                lines.append(_wire(wire, y, place))
            y += _ROW
        y += 12
    return parts, lines, y


def _wire(wire: Wire, y: int, place: int) -> str:
    """A line from the header to a part. place: number of signal lines up to this one."""
    colour = _COLOURS.get(wire.to) or _WIRES[(place - 1) % len(_WIRES)]
    x, at = _pin_place(wire.pin)
    bend = _PARTS_X - 30 - 5 * (place % 20)
    path = f"M{x} {at} C{bend} {at} {bend} {y - 4} {_PARTS_X} {y - 4}"
    return f'<path d="{path}" stroke="{colour}" class="wire"/>'


def _pin_place(pin: int) -> tuple[int, int]:
    return _HEADER_X + (0 if pin % 2 else 24), _TOP + (pin - 1) // 2 * _ROW


def _header(used: set[int]) -> list[str]:
    """Elements of the header. used: pins that are drawn in colour."""
    out = [
        f'<rect x="{_HEADER_X - 16}" y="{_TOP - 20}" width="56"'
        f' height="{len(HEADER) * _ROW + 10}" rx="4" class="board"/>'
    ]
    for row, pair in enumerate(HEADER):
        for side, name in enumerate(pair):
            pin = 2 * row + side + 1
            x, y = _pin_place(pin)
            fill = _COLOURS.get(name, "#e3b94a") if pin in used else "#cfd6cf"
            out.append(f'<circle cx="{x}" cy="{y}" r="8" fill="{fill}" stroke="#555"/>')
            anchor, at = ("end", x - 20) if side == 0 else ("start", x + 20)
            label = f"{name}  {pin}" if side == 0 else f"{pin}  {name}"
            out.append(
                f'<text x="{at}" y="{y + 4}" text-anchor="{anchor}" class="pin">{label}</text>'
            )
    return out
