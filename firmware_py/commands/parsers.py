"""What the parsers of commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Handler: TypeAlias = Callable[[argparse.Namespace], int]


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def add_old_name(subparsers: Subparsers, old: str, parser: argparse.ArgumentParser) -> None:
    """Accept a word of an earlier version, which scripts may use. Help and completion omit it."""
    subparsers.choices[old] = parser


def visible(subparsers: Subparsers) -> list[str]:
    """The words that `--help` shows, in its order."""
    return [choice.dest for choice in subparsers._choices_actions]
