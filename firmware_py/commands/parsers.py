"""What the parsers of commands share."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from dsp.errors import did_you_mean
from firmware_py.base.say import say, speak_as

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Handler: TypeAlias = Callable[[argparse.Namespace], int]
_ASSIGNMENT = re.compile(r"[a-z]\w*[+-]?=.*", re.IGNORECASE | re.DOTALL)


class CommandParser(argparse.ArgumentParser):
    """The parser of a command: an error is one line that names the command.

    Each takes --quiet, and gives its name as `command_name`. `--set A=1 B=2` is `--set A=1 --set
    B=2`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        formatter = options.pop("formatter_class", argparse.HelpFormatter)
        options["formatter_class"] = partial(formatter, width=_columns() - 2)
        super().__init__(*args, **options)
        self.add_argument(
            "-q",
            "--quiet",
            action="store_true",
            default=argparse.SUPPRESS,
            help="print errors only",
        )

    def error(self, message: str) -> None:  # type: ignore[override]
        speak_as(self.prog)
        say(f"{message} (see {self.prog} --help)")
        raise SystemExit(2)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        words = list(sys.argv[1:] if args is None else args)
        if "--set" in self._option_string_actions:
            words = _with_each_set(words)
        found, extras = super().parse_known_args(words, namespace)
        if extras:  # argparse leaves it to the top parser, which knows no command
            self.error(f"unrecognized arguments: {' '.join(extras)}")
        if not hasattr(found, "command_name"):  # the innermost parser is the first one here
            found.command_name = self.prog
        return found, extras

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            what = "command" if action.metavar in (None, "COMMAND") else "such word"
            hint = did_you_mean(str(value), visible(action))
            raise argparse.ArgumentError(None, f"no {what} {value!r}: {hint}")
        super()._check_value(action, value)


def _columns() -> int:
    """The width of the terminal. argparse imports shutil for it, and that all compressors: for each
    command, because it tries a formatter with each argument."""
    try:
        return int(os.environ.get("COLUMNS", "")) or 80
    except ValueError:
        pass
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


def _with_each_set(words: list[str]) -> list[str]:
    """Put --set before each further assignment that follows one."""
    given: list[str] = []
    is_value = False
    for place, word in enumerate(words):
        if word == "--":
            return given + words[place:]
        if is_value and words[place - 1] != "--set" and _ASSIGNMENT.fullmatch(word):
            given.append("--set")
        given.append(word)
        is_value = word == "--set" or (is_value and _ASSIGNMENT.fullmatch(word) is not None)
    return given


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def add_dry_run(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("-n", "--dry-run", action="store_true", help=text)


def add_old_name(subparsers: Subparsers, old: str, parser: argparse.ArgumentParser) -> None:
    """Accept a word of an earlier version, which scripts may use. Help and completion omit it."""
    subparsers.choices[old] = parser


def visible(subparsers: Subparsers) -> list[str]:
    """The words that `--help` shows, in its order."""
    return [choice.dest for choice in subparsers._choices_actions]
