"""The table of docs/service.md that says who may write what, compared with an installed pedal."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import NamedTuple

FOLDERS = (
    "/etc/nverb",
    "/etc/systemd/system/nverb*",
    "/opt/nverb/current/bin/nverb",
    "/run/nverb",
    "/var/lib/nverb",
)
"""Every file in these must be in the table."""


class Row(NamedTuple):
    """A pattern of paths, the owners that they may have, and their mode."""

    pattern: str
    owners: frozenset[str]
    modes: frozenset[str]


def rows(document: str) -> list[Row]:
    """The rows of the table "Who may write what"."""
    section = document.partition("## Who may write what")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `([^`]+)` +\| ([^|]+) \| ([^|]+) \|", section, re.MULTILINE)
    return [
        Row(pattern, frozenset(owners.split(" or ")), frozenset(modes.split(" or ")))
        for pattern, owners, modes in ((p, o.strip(), m.strip()) for p, o, m in found)
    ]


def compare(table: list[Row], listed: Iterable[str]) -> list[str]:
    """What differs, in lines; `listed`: lines of path, owner:group and mode. [] if nothing does.

    The last row whose pattern fits a path is its row. A `*` fits any text without a slash.
    """
    wrong = []
    for line in listed:
        path, owner, mode = line.rsplit(" ", 2)
        row = next((row for row in reversed(table) if _fits(path, row.pattern)), None)
        if row is None:
            wrong.append(f"{path}: in no row ({owner} {mode})")
        elif owner not in row.owners or not row.modes & {mode, "any"}:
            wrong.append(f"{path}: {owner} {mode}, the table says {row}")
    return wrong


def _fits(path: str, pattern: str) -> bool:
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)
