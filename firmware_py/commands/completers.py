"""Completion of controls, settings, presets and profiles in a shell.

Runs at each press of Tab, so it is quick and raises no error.
"""

from __future__ import annotations

import argparse
import os

from firmware_py.commands.parsers import visible
from firmware_py.commands.table import COMMANDS, INTERNAL


def complete(parser: argparse.ArgumentParser) -> None:
    """If the shell asks for completions: answer and exit; else do nothing."""
    if "_ARGCOMPLETE" not in os.environ:
        return
    import argcomplete

    _set_completers(parser, "")
    _hide_other_words(parser)
    argcomplete.autocomplete(parser)


def _set_completers(parser: argparse.ArgumentParser, command: str) -> None:
    """Set the completer of each argument, also of sub-commands, by its metavar and its command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                _set_completers(child, f"{command} {name}".strip())
        elif action.metavar == "NAME=VALUE":
            machine = command in ("settings set", "image")
            action.completer = settings if machine else assignments  # type: ignore[attr-defined]
        elif action.metavar == "PROFILE" or "--profile" in action.option_strings:
            action.completer = profiles  # type: ignore[attr-defined]
        elif action.metavar == "CARD":
            action.completer = sound_cards  # type: ignore[attr-defined]
        elif action.metavar == "NAME" and command == "get":
            action.completer = controls  # type: ignore[attr-defined]
        elif "--preset" in action.option_strings and command == "render":
            action.completer = presets  # type: ignore[attr-defined]
        elif action.metavar == "NAME" and command in ("use", "remove"):
            action.completer = installed  # type: ignore[attr-defined]
        elif action.metavar == "COMMAND" and command == "help":
            action.completer = commands  # type: ignore[attr-defined]
        elif action.metavar == "NAME" and command.startswith("preset") and command != "preset save":
            action.completer = presets  # type: ignore[attr-defined]


def _hide_other_words(parser: argparse.ArgumentParser) -> None:
    """Offer no internal commands and no words of earlier versions."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            shown = set(visible(action))
            for name, child in list(action.choices.items()):
                if name in shown:
                    _hide_other_words(child)
                elif name not in os.environ.get("COMP_LINE", "").split()[:-1]:
                    del action.choices[name]
            kept = [choice for choice in action._choices_actions if choice.dest in action.choices]
            action._choices_actions[:] = kept


def controls(**_: object) -> list[str]:
    from device.controls import CONTROLS

    return [control.name for control in CONTROLS]


def assignments(prefix: str, **_: object) -> list[str]:
    """`lowp` -> `lowpass=`, `lowpass_hz=`; `lowpass=` -> `lowpass=on`, `lowpass=off`."""
    from device.controls import CONTROLS

    name, equals, _value = prefix.partition("=")
    if not equals:
        return [f"{control.name}=" for control in CONTROLS]
    return [
        f"{name}={word}"
        for control in CONTROLS
        if control.name == name
        for word in (("on", "off") if control.is_switch else control.choices)
    ]


def settings(prefix: str, **_: object) -> list[str]:
    """`bl` -> `block_frames=`; `profile=` -> the profiles."""
    from firmware_py.state.settings import HELP

    name, equals, _value = prefix.partition("=")
    if not equals:
        return [f"{name}=" for name in HELP]
    return [f"{name}={word}" for word in profiles()] if name == "profile" else []


def presets(**_: object) -> list[str]:
    from firmware_py.base.paths import data_dir
    from firmware_py.state.factory_presets import factory_presets
    from firmware_py.state.presets import Presets

    kept = Presets(data_dir(), factory=factory_presets())
    return [preset.name for preset in (*kept.all(), *kept.factory())]


def installed(**_: object) -> list[str]:
    from firmware_py.base.paths import data_dir
    from firmware_py.state.store import Store

    return [*dict.fromkeys(slot.name for slot in Store(data_dir()).slots()), "built-in"]


def commands(**_: object) -> list[str]:
    return [name for name in COMMANDS if name not in INTERNAL]


def sound_cards(**_: object) -> list[str]:
    from firmware_py.jack import cards

    return [card.identifier for card in cards.sound_cards()]


def profiles(**_: object) -> list[str]:
    from device.profile import paths
    from firmware_py.base.paths import data_dir

    return list(paths(data_dir()))
