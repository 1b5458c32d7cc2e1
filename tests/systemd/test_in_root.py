"""Files of a system in a folder: symlinks at every level lead to other files of that system."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dsp.errors import UserError
from systemd.in_root import InRoot

OURS = "a file of this machine"
NEW = "from the builder"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text(OURS)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "system"
    (root / "etc").mkdir(parents=True)
    return root


def write(files: InRoot, name: str, _: Path) -> None:
    files.write(name, NEW.encode())


def copy(files: InRoot, name: str, scratch: Path) -> None:
    (scratch / "source").write_text(NEW)
    files.copy(scratch / "source", name)


def copy_tree(files: InRoot, name: str, scratch: Path) -> None:
    path = scratch / "added" / name
    path.parent.mkdir(parents=True)
    path.write_text(NEW)
    files.copy_tree(scratch / "added")


def symlink(files: InRoot, name: str, _: Path) -> None:
    files.symlink(name, NEW)


def remove(files: InRoot, name: str, _: Path) -> None:
    files.remove(name)


@pytest.mark.parametrize("change", [write, copy, copy_tree, symlink, remove])
@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
@pytest.mark.parametrize("level", range(4), ids=["file", "folder", "parent", "first"])
def test_change_through_symlink_leaves_other_systems_alone(
    change: Callable[[InRoot, str, Path], None],
    relative: bool,
    level: int,
    root: Path,
    outside: Path,
    tmp_path: Path,
) -> None:
    """The symlink is the last part of the name, or one of the folders before it."""
    name = "etc/a/b/file"
    link = root.joinpath(*name.split("/")[: 4 - level])
    rest = name.split("/")[4 - level :]
    target = outside.joinpath(*rest) if rest else outside / "file"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(OURS)
    if level == 3:
        (root / "etc").rmdir()
    link.parent.mkdir(parents=True, exist_ok=True)
    to = outside if rest else outside / "file"
    link.symlink_to("../" * 20 + str(to)[1:] if relative else to)
    inside = root / str(to)[1:]  # where the system itself finds the target
    if rest:
        inside.mkdir(parents=True)
    change(InRoot(root), name, tmp_path)
    assert target.read_text() == OURS
    found = inside.joinpath(*rest) if rest else link
    if change is symlink:
        assert os.readlink(found) == NEW
    elif change is remove:
        assert not os.path.lexists(found)
    else:
        assert found.read_text() == NEW and not found.is_symlink()


def test_copy_tree_keeps_modes_times_and_symlinks(root: Path, tmp_path: Path) -> None:
    added = tmp_path / "added"
    (added / "opt/own").mkdir(parents=True)
    (added / "opt/own/run").write_text("#!/bin/sh\n")
    (added / "opt/own/run").chmod(0o750)
    os.utime(added / "opt/own/run", (1, 2))
    (added / "opt/own").chmod(0o700)
    (added / "opt/link").symlink_to("own/run")
    (added / "etc").mkdir(mode=0o700)
    InRoot(root).copy_tree(added)
    copied = (root / "opt/own/run").stat()
    assert (copied.st_mode & 0o7777, copied.st_mtime) == (0o750, 2)
    assert (root / "opt/own").stat().st_mode & 0o7777 == 0o700
    assert os.readlink(root / "opt/link") == "own/run"
    assert (root / "etc").stat().st_mode & 0o7777 == 0o755  # the system's own folder stays


def test_copy_tree_rejects_devices_and_pipes(root: Path, tmp_path: Path) -> None:
    added = tmp_path / "added"
    added.mkdir()
    os.mkfifo(added / "pipe")
    with pytest.raises(UserError, match="only files, folders and symlinks"):
        InRoot(root).copy_tree(added)


def test_reading_follows_links_within_the_system(root: Path, outside: Path) -> None:
    (root / "etc/leading-out").symlink_to(outside / "file")
    (root / "etc/hosts").symlink_to("/etc/real")
    (root / "etc/real").write_text("127.0.0.1 localhost\n")
    files = InRoot(root)
    assert files.text("etc/leading-out") == "" and not files.exists("etc/leading-out")
    assert files.text("etc/hosts") == "127.0.0.1 localhost\n"
    os.mkfifo(root / "etc/pipe")
    assert files.text("etc/pipe") == ""
