"""All commands, in groups, and the parser of the command `nverb`."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

from firmware_py.base.version import version
from firmware_py.commands.parsers import CommandParser, Subparsers

GROUPS = {
    "play": (
        *("run", "demo", "set", "get", "controls", "status", "panel"),
        *("preset", "scene", "tap", "reset", "midi"),
    ),
    "rooms": (
        *("render", "encode", "measure", "bank", "model"),
        *("list", "use", "install", "push", "pull", "rollback", "remove"),
    ),
    "board": ("board", "card", "settings"),
    "system": ("doctor", "logs", "service", "image", "bench", "completion", "help"),
}
INTERNAL = ("jack", "audio", "control", "store")
"""For services and programs: `nverb --help` does not show them."""
COMMANDS = (*(name for names in GROUPS.values() for name in names), *INTERNAL)
"""Each is a module of firmware_py.commands.

A command is loaded alone when its word is the first argument: on a small board, loading the others
takes most of the time of a short command, and 2 MB of each process that stays.
"""


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"nverb {version()}")
        parser.exit()


class _TopParser(CommandParser):
    """Its help has the commands in groups."""

    commands: Subparsers

    def format_help(self) -> str:
        texts = {choice.dest: choice.help or "" for choice in self.commands._choices_actions}
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        for group, names in GROUPS.items():
            formatter.start_section(group)
            for name in names:
                formatter.add_argument(argparse.Action([], name, metavar=name, help=texts[name]))
            formatter.end_section()
        formatter.start_section("options")
        formatter.add_arguments([a for a in self._actions if a.option_strings])
        formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()


def build_parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of `nverb`, with these commands."""
    parser = _TopParser(
        prog="nverb",
        description="A neural reverb pedal: run it, control it, render files through it, and make "
        "rooms for it.",
        epilog="`nverb help COMMAND` explains a command.",
    )
    parser.add_argument(
        "-V", "--version", action=_Version, nargs=0, help="print the version and exit"
    )
    parser.commands = parser.add_subparsers(
        metavar="COMMAND", required=True, parser_class=CommandParser
    )
    for name in commands:
        importlib.import_module(f"firmware_py.commands.{name}").add_parser(parser.commands)
    _describe(parser.commands)
    return parser


def _describe(words: Subparsers) -> None:
    """Give each command without a description that of the list that it is in."""
    for choice in words._choices_actions:
        parser = words.choices[choice.dest]
        parser.description = parser.description or choice.help
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                _describe(action)
