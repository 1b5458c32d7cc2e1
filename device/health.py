"""Temperature, power supply and clock governor of the board, from sysfs. Takes some 50 us.

The firmware of a Raspberry Pi reports supply and temperature in one word. The kernel shows it, in
hexadecimal, as /sys/devices/platform/soc/soc:firmware/get_throttled (`vcgencmd get_throttled`
prints the same):

    bit  0  under-voltage now               bit 16  under-voltage has occurred since power-on
    bit  1  clock capped now                bit 17  clock capped since power-on
    bit  2  throttled now                   bit 18  throttled since power-on
    bit  3  soft temperature limit now      bit 19  soft temperature limit since power-on

Kernels without that file have a hwmon device `rpi_volt`, whose in0_lcrit_alarm is bit 16.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

THROTTLED = Path("sys/devices/platform/soc/soc:firmware/get_throttled")
_BITS = (
    (0, "under-voltage now"),
    (1, "clock capped now"),
    (2, "throttled now"),
    (3, "too hot now"),
    (16, "under-voltage since power-on"),
    (17, "clock capped since power-on"),
    (18, "throttled since power-on"),
    (19, "too hot since power-on"),
)


class MachineStatus(TypedDict):
    """None or an empty list where the board reports nothing."""

    temperature_c: float | None
    """Of the hottest thermal zone."""
    warnings: list[str]
    """Texts of the bits above that are set."""
    governors: list[str]
    """Of the processors' clocks, sorted, each once."""


def read(root: Path = Path("/")) -> MachineStatus:
    """The board's state. root: of the file system, for tests."""
    return {
        "temperature_c": _temperature_c(root),
        "warnings": _warnings(root),
        "governors": sorted(
            {
                _text(path)
                for path in root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
            }
            - {""}
        ),
    }


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _temperature_c(root: Path) -> float | None:
    found = [_text(path) for path in root.glob("sys/class/thermal/thermal_zone*/temp")]
    zones = [int(text) / 1000 for text in found if text.lstrip("-").isdigit()]
    return max(zones, default=None)


def _warnings(root: Path) -> list[str]:
    try:
        word = int(_text(root / THROTTLED) or "0", 16)
    except ValueError:
        word = 0
    for alarm in root.glob("sys/class/hwmon/hwmon*/in0_lcrit_alarm"):
        if _text(alarm.with_name("name")) == "rpi_volt" and _text(alarm) == "1":
            word |= 1 << 16
    return [text for bit, text in _BITS if word >> bit & 1]
