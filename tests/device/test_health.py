"""The board's state from a sysfs tree in a temporary folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from device import health


def put(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_read_without_sysfs_gives_empty_state(tmp_path: Path) -> None:
    assert health.read(tmp_path) == {"temperature_c": None, "warnings": [], "governors": []}


def test_read_gives_hottest_zone_and_unique_governors(tmp_path: Path) -> None:
    for zone, text in enumerate(("48312\n", "51003\n", "broken")):
        put(tmp_path, f"sys/class/thermal/thermal_zone{zone}/temp", text)
    for cpu, governor in enumerate(("ondemand", "ondemand", "performance")):
        put(tmp_path, f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor", governor + "\n")
    seen = health.read(tmp_path)
    assert seen["temperature_c"] == 51.003
    assert seen["governors"] == ["ondemand", "performance"]


@pytest.mark.parametrize(
    ("word", "warnings"),
    [
        ("0\n", []),
        (
            "50005\n",
            [
                "under-voltage now",
                "throttled now",
                "under-voltage since power-on",
                "throttled since power-on",
            ],
        ),
        ("0x80008", ["too hot now", "too hot since power-on"]),
        ("nonsense", []),
    ],
)
def test_read_decodes_throttled_word(tmp_path: Path, word: str, warnings: list[str]) -> None:
    """Bits from Raspberry Pi's documentation of get_throttled."""
    put(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", word)
    assert health.read(tmp_path)["warnings"] == warnings


def test_read_reports_hwmon_voltage_alarm(tmp_path: Path) -> None:
    put(tmp_path, "sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    put(tmp_path, "sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    assert health.read(tmp_path)["warnings"] == ["under-voltage since power-on"]
