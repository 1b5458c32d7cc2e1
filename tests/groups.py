"""A scheduler of pytest-xdist: tests of one `xdist_group` run on one worker, one after another.

That is what `--dist loadgroup` promises, but with pytest 9.2 and pytest-xdist 3.8 it does nothing
(pytest-xdist, issue 1386). Here the workers write the groups into a file for the scheduler.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling


def path() -> Path:
    """Of the process that distributes the tests."""
    return Path(tempfile.gettempdir(), f"nverb-groups-{os.getpid()}.json")


def write(items: list[pytest.Item], to: Path) -> None:
    """Each worker writes the same."""
    marks = {item.nodeid: item.get_closest_marker("xdist_group") for item in items}
    own = to.with_suffix(f".{os.getpid()}")
    own.write_text(json.dumps({name: mark.args[0] for name, mark in marks.items() if mark}))
    own.replace(to)


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """The largest group first, so that the live tests run from the start."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        self._groups: dict[str, str] = {}

    def schedule(self) -> None:
        if path().exists():  # once, when all workers have collected
            self._groups = json.loads(path().read_text())
            path().unlink()
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return self._groups.get(nodeid, nodeid)
