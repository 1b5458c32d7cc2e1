"""What the shell may complete beyond names of commands and options. Runs at each press of Tab: quick, and never an error."""

from __future__ import annotations

import argparse
import os
from typing import Any


def complete(parser: argparse.ArgumentParser) -> None:
    """Answers the shell and leaves, if it is the shell that asks; else does nothing."""
    if "_ARGCOMPLETE" not in os.environ:
        return
    import argcomplete

    _teach(parser, "")
    argcomplete.autocomplete(parser)


def _teach(parser: argparse.ArgumentParser, command: str) -> None:
    """Gives each argument of the parser and of all below it what completes it: by its metavar, or by the command it belongs to."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                _teach(child, f"{command} {name}".strip())
        elif action.metavar == "NAME=VALUE":
            machine = command in ("settings set", "image")
            action.completer = settings if machine else assignments  # type: ignore[attr-defined]
        elif action.metavar == "PROFILE" or "--profile" in action.option_strings:
            action.completer = profiles  # type: ignore[attr-defined]
        elif action.metavar == "NAME" and command == "get":
            action.completer = controls  # type: ignore[attr-defined]
        elif action.metavar == "NAME" and command.startswith("preset") and command != "preset save":
            action.completer = presets  # type: ignore[attr-defined]


def controls(**_: Any) -> list[str]:
    from device.controls import CONTROLS

    return [control.name for control in CONTROLS]


def assignments(prefix: str, **_: Any) -> list[str]:
    """`lowp` -> `lowpass=`, `lowpass_hz=`; `lowpass=` -> `lowpass=on`, `lowpass=off`."""
    from device.controls import CONTROLS

    name, equals, _value = prefix.partition("=")
    if not equals:
        return [f"{control.name}=" for control in CONTROLS]
    return [
        f"{name}={word}"
        for control in CONTROLS
        if control.name == name and control.is_switch
        for word in ("on", "off")
    ]


def settings(prefix: str, **_: Any) -> list[str]:
    """`bl` -> `block_frames=`; `profile=` -> the profiles."""
    from firmware_py.state.settings import HELP

    name, equals, _value = prefix.partition("=")
    if not equals:
        return [f"{name}=" for name in HELP]
    return [f"{name}={word}" for word in profiles()] if name == "profile" else []


def presets(**_: Any) -> list[str]:
    from firmware_py.base.paths import data_dir
    from firmware_py.state.presets import Presets

    return Presets(data_dir()).names()


def profiles(**_: Any) -> list[str]:
    from device.profile import paths
    from firmware_py.base.paths import data_dir

    return list(paths(data_dir()))
