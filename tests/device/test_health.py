"""The board's own state, from a faked sysfs tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from device import health


def put(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_a_machine_that_says_nothing(tmp_path: Path) -> None:
    assert health.read(tmp_path) == {"temperature_c": None, "warnings": [], "governors": []}


def test_the_hottest_zone_and_each_governor_once(tmp_path: Path) -> None:
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
def test_the_firmwares_word(tmp_path: Path, word: str, warnings: list[str]) -> None:
    """Bits as Raspberry Pi's documentation of get_throttled has them."""
    put(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", word)
    assert health.read(tmp_path)["warnings"] == warnings


def test_the_voltage_alarm_of_kernels_without_the_word(tmp_path: Path) -> None:
    put(tmp_path, "sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    put(tmp_path, "sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    assert health.read(tmp_path)["warnings"] == ["under-voltage since power-on"]
