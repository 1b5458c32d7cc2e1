"""Manual pages and completion, made from the parsers and placed below a share folder."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from waiting import HANG_S

from firmware_py.cli import main
from firmware_py.commands.manual import shared_files
from firmware_py.commands.table import GROUPS
from systemd.install import SHARE, place_shared, remove_shared


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return shared_files()


def test_each_command_has_a_page_that_begins_and_escapes_as_man_wants(
    files: dict[str, str],
) -> None:
    pages = {name: text for name, text in files.items() if name.startswith("man/")}
    names = [name for group in GROUPS.values() for name in group if name != "help"]
    assert set(pages) == {"man/man1/nverb.1", *(f"man/man1/nverb-{name}.1" for name in names)}
    requests = {".TH", ".SH", ".TP", ".PP", ".br"}
    for text in pages.values():
        lines = text.splitlines()
        assert lines[0].startswith(".TH NVERB") and lines[1] == ".SH NAME"
        assert {line.split()[0] for line in lines if line.startswith((".", "'"))} <= requests
        assert not re.search(r"(?<!\\)-", text.replace(lines[0], "")), "an unescaped hyphen"
    assert "NAME=VALUE" in pages["man/man1/nverb-set.1"]
    assert r"preset undo" in pages["man/man1/nverb-preset.1"].lower()


def test_man_reads_the_pages_without_a_warning(files: dict[str, str], tmp_path: Path) -> None:
    if shutil.which("man") is None:
        pytest.skip("no man here")
    for name in ("nverb", "nverb-set", "nverb-bench"):
        page = tmp_path / f"{name}.1"
        page.write_text(files[f"man/man1/{name}.1"])
        command = ["man", "--warnings", "-E", "UTF-8", "-l", str(page)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)
        assert (done.returncode, done.stderr) == (0, "") and "nverb" in done.stdout


def test_service_places_the_files_and_removes_all_of_them(
    files: dict[str, str], tmp_path: Path
) -> None:
    share = tmp_path / SHARE
    (share / "man/man1").mkdir(parents=True)
    (share / "man/man1/nverb-gone.1").write_text("of an earlier version")
    (share / "man/man1/other.1").write_text("not ours")
    place_shared(tmp_path, files)
    placed = {str(path.relative_to(share)) for path in share.rglob("*") if path.is_file()}
    assert placed == {*files, "man/man1/other.1"}
    remove_shared(tmp_path)
    assert [path.name for path in share.rglob("*")] == ["man", "man1", "other.1"]


def test_completion_command_writes_them_for_a_user(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", "--into", str(tmp_path)]) == 0
    assert {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()} == set(files)
    assert main(["completion"]) == 1
    assert "name a shell" in capsys.readouterr().err
