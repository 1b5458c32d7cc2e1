"""How to switch on what a board leaves off: a Raspberry Pi has a boot file for it."""

from __future__ import annotations

from pathlib import Path

CONFIGS = ("boot/firmware/config.txt", "boot/config.txt")


def boot_file(root: Path = Path("/")) -> str | None:
    """The boot file of a Raspberry Pi; None on other machines."""
    return next((f"/{name}" for name in CONFIGS if (root / name).exists()), None)


def how_to_enable(parameter: str, root: Path) -> str:
    """The remedy for a bus that is off."""
    if file := boot_file(root):
        return f"switch it on (raspi-config, or dtparam={parameter} in {file}) and reboot"
    return "switch it on in the board's device tree, or choose another profile: `nverb board list`"
