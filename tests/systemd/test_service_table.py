"""docs/service.md, "Who may write what": `make acceptance-service` compares it with a pedal."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from systemd.install import FILES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def table() -> ModuleType:
    path = ROOT / "tests/board/service_table.py"
    spec = importlib.util.spec_from_file_location("service_table", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["service_table"] = module
    spec.loader.exec_module(module)
    return module


def test_table_has_owner_and_mode_of_each_installed_file(table: ModuleType) -> None:
    rows = table.rows((ROOT / "docs/service.md").read_text())
    assert len(rows) > 30
    for row in rows:
        assert all(owner.count(":") == 1 for owner in row.owners), row
        assert all(mode == "any" or int(mode, 8) for mode in row.modes), row
        if "root:root" not in row.owners:  # nothing of the pedal's is open to everybody
            assert all(mode == "any" or not int(mode, 8) & 2 for mode in row.modes), row
    ours = [f"/{path} root:root 644" for path in FILES.values() if "nverb" in path.split("/")[1]]
    ours += [f"/{path} root:root 644" for path in FILES.values() if "system/nverb" in path]
    assert len(ours) > 4 and table.compare(rows, ours) == []


def test_compare_reports_each_difference(table: ModuleType) -> None:
    rows = table.rows(
        "## Who may write what\n\n| file | owner | mode |\n|---|---|---|\n"
        "| `/a` | nverb:nverb | 2770 | x |\n| `/a/*` | nverb:nverb or MEMBER:nverb | 664 | x |\n"
        "| `/a/b` | root:root | any | x |\n\n## Next\n\n| `/c` | root:root | 644 | x |\n"
    )
    assert len(rows) == 3
    good = ["/a nverb:nverb 2770", "/a/x y MEMBER:nverb 664", "/a/b root:root 600"]
    assert table.compare(rows, good) == []
    for bad in (
        "/a nverb:nverb 2775",
        "/a/x root:root 664",
        "/a/b nverb:nverb 600",
        "/a/b/c root:root 644",
        "/c root:root 644",
    ):
        assert len(table.compare(rows, [bad])) == 1, bad
