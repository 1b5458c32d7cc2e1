"""The shell commands of docs/board.md, and where each is run. tests/board/guide.py and image_boot.py run them.

A shell block begins with a fence that names no language or `sh`; the paragraph before it carries one mark:

| mark        | who runs it                                                                                    |
|-------------|------------------------------------------------------------------------------------------------|
| [desk]      | the test, on this machine, in a copy of the checkout                                           |
| [board]     | the test, in the emulated board, as an unprivileged user with sudo, each block in a new session |
| [image]     | the test, on this machine; the image that comes of it is booted                                |
| [not run]   | nobody here could                                                                              |
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "board.md"
MARKS = ("desk", "board", "image", "not run")
_SHELL = ("", "sh")


class Block(NamedTuple):
    line: int
    mark: str
    script: str


class Unmarked(Exception):
    """A shell block of which nobody knows where it runs."""


def blocks(text: str | None = None) -> list[Block]:
    """All shell blocks in their order. Raises Unmarked."""
    lines = (DOCUMENT.read_text() if text is None else text).splitlines()
    found, paragraph, number = [], "", 0
    while number < len(lines):
        line = lines[number]
        fence = re.match(r"(\s*)```\s*(\S*)", line)
        if fence:
            end = next(
                (n for n in range(number + 1, len(lines)) if lines[n].strip() == "```"), None
            )
            if end is None:
                raise Unmarked(f"line {number + 1}: the block has no end")
            if fence[2] in _SHELL:
                marks = re.findall(r"\*\*\[([\w ]+)\]\*\*", paragraph)
                if len(marks) != 1 or marks[0] not in MARKS:
                    raise Unmarked(
                        f"docs/board.md, line {number + 1}: the paragraph before a shell block must carry one of "
                        + ", ".join(f"**[{mark}]**" for mark in MARKS)
                    )
                script = "\n".join(row.removeprefix(fence[1]) for row in lines[number + 1 : end])
                found.append(Block(number + 1, marks[0], script))
                paragraph = ""
            number = end
        elif line.strip():
            paragraph += f" {line}"
        elif not _goes_on(lines, number):
            paragraph = ""
        number += 1
    return found


def _goes_on(lines: list[str], number: int) -> bool:
    """Whether an empty line is the one between a paragraph and its block."""
    return number + 1 < len(lines) and lines[number + 1].lstrip().startswith("```")


def adapted(script: str, words: dict[str, str]) -> str:
    """The script with what is this board's in place of the reader's own. Raises Unmarked if the document has a word no more."""
    for theirs, ours in words.items():
        if theirs not in script:
            raise Unmarked(
                f"docs/board.md no longer says {theirs!r}: change tests/board/guide.py with it"
            )
        script = script.replace(theirs, ours)
    return script
