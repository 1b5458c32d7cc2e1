"""The shell commands of docs/board.md, and where guide.py and image_boot.py run each.

The fence of a shell block names no language or `sh`. The paragraph before it contains one mark:

| mark        | the test runs it                                                            |
|-------------|-----------------------------------------------------------------------------|
| [desk]      | on this machine, in the checkout                                            |
| [board]     | on the emulated board, as a user with sudo, each block in a new session     |
| [image]     | on this machine, and boots the image that it makes                          |
| [not run]   | not at all, because it needs real hardware or a download                    |
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "board.md"
MARKS = ("desk", "board", "image", "not run")
CHOOSES = "nverb settings set profile="
"""After the block with this command the pedal sounds."""
_SHELL = ("", "sh")


class Block(NamedTuple):
    line: int
    mark: str
    script: str


class Unmarked(Exception):
    """A shell block without a valid mark, or a word that the document no longer contains."""


def blocks(text: str | None = None) -> list[Block]:
    """All shell blocks, in order. Raises Unmarked."""
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
                        f"docs/board.md, line {number + 1}: the paragraph before a shell block "
                        "must contain one of " + ", ".join(f"**[{mark}]**" for mark in MARKS)
                    )
                script = "\n".join(row.removeprefix(fence[1]) for row in lines[number + 1 : end])
                script = re.sub(r"\\\n *", "", script)  # a command a line
                found.append(Block(number + 1, marks[0], script))
                paragraph = ""
            number = end
        elif line.strip():
            paragraph += f" {line}"
        elif not _goes_on(lines, number):
            paragraph = ""
        number += 1
    return found


def commands_to_sound(found: list[Block]) -> int:
    """How many commands a builder gives until the pedal sounds, wherever they run."""
    count = 0
    for block in found:
        count += len(block.script.splitlines())
        if CHOOSES in block.script:
            return count
    raise Unmarked(f"docs/board.md no longer contains {CHOOSES!r}: adapt tests/board/guide_doc.py")


def _goes_on(lines: list[str], number: int) -> bool:
    """Whether the empty line is between a paragraph and its block."""
    return number + 1 < len(lines) and lines[number + 1].lstrip().startswith("```")


def adapted(script: str, words: dict[str, str]) -> str:
    """The script with words replaced. Raises Unmarked if the document lacks one."""
    for theirs, ours in words.items():
        if theirs not in script:
            raise Unmarked(
                f"docs/board.md no longer contains {theirs!r}: adapt tests/board/guide.py"
            )
        script = script.replace(theirs, ours)
    return script
