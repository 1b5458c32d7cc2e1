"""docs/board.md as a program reads it: every block of commands says where it runs, and its commands are ones that there are."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest

from firmware_py.cli import build_parser

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def guide() -> ModuleType:
    spec = importlib.util.spec_from_file_location("guide_doc", ROOT / "tests/board/guide_doc.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["guide_doc"] = module
    spec.loader.exec_module(module)
    return module


def test_every_block_says_where_it_runs(guide: ModuleType) -> None:
    marks = [block.mark for block in guide.blocks()]
    assert {"desk", "board", "image"} <= set(marks)
    assert marks.count("not run") <= 5, "new commands are to be run by tests/board/guide.py"


@pytest.mark.parametrize(
    "text",
    [
        "Do this:\n\n```\nls\n```\n",
        "**[desk]** or **[board]**:\n```sh\nls\n```",
        "**[moon]**\n```\nls\n```",
    ],
)
def test_a_block_without_one_mark_is_refused(guide: ModuleType, text: str) -> None:
    with pytest.raises(guide.Unmarked):
        guide.blocks(text)


def test_files_are_no_commands(guide: ModuleType) -> None:
    assert guide.blocks("```ini\ndtparam=spi=on\n```\n\nGo **[board]**:\n\n```\nls\n```\n") == [
        (7, "board", "ls")
    ]


def test_a_word_that_is_gone_is_told(guide: ModuleType) -> None:
    assert guide.adapted("make BOARD=x", {"BOARD=x": "BOARD=y"}) == "make BOARD=y"
    with pytest.raises(guide.Unmarked, match="no longer says"):
        guide.adapted("make", {"BOARD=x": "BOARD=y"})


def test_its_commands_are_nverbs_and_makes(guide: ModuleType) -> None:
    targets = {
        line.split(":")[0]
        for line in (ROOT / "Makefile").read_text().splitlines()
        if ":" in line and line[0].islower()
    }
    seen = 0
    for block in guide.blocks():
        for line in block.script.splitlines():
            words = [word for word in shlex.split(line) if word != "sudo"]
            if Path(words[0]).name == "nverb":
                build_parser().parse_args(
                    words[1:]
                )  # SystemExit if there is no such command or option
                seen += 1
            elif words[0] == "make":
                assert words[1] in targets, line
                seen += 1
    assert seen >= 10
