"""JACK's names in /dev/shm, taken by another user."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from firmware_py.jack.squatted import taken_names

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files to others")
REGISTRY = "jack-shm-registry"


@pytest.mark.parametrize(
    "name", ["jack_default_0_0", "jack_default_0_1", "jack-0-3", "sem.jack_sem.0_default_nverb"]
)
def test_name_of_this_user_that_another_has_taken_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert taken_names(None, tmp_path) == ""
    os.chown(tmp_path / name, 12345, 12345)
    told = taken_names(None, tmp_path)
    assert f"{tmp_path / name} of the user with number 12345" in told


def test_names_of_other_users_and_servers_are_not_told(tmp_path: Path) -> None:
    for name in ("jack_default_12345_0", "jack_stage_0_0", "jack-12345-0", "other"):
        (tmp_path / name).touch()
        os.chown(tmp_path / name, 12345, 12345)
    assert taken_names(None, tmp_path) == ""
    assert "jack_stage_0_0" in taken_names("stage", tmp_path)


def test_registry_is_told_unless_it_is_one(tmp_path: Path) -> None:
    """The first jackd of any user makes it for all."""
    registry = tmp_path / REGISTRY
    registry.write_bytes(struct.pack("I", 0x4A41434B) + bytes(100))
    os.chown(registry, 12345, 12345)
    assert taken_names(None, tmp_path) == ""
    registry.write_bytes(b"no registry")
    assert REGISTRY in taken_names(None, tmp_path)
    registry.unlink()
    registry.symlink_to("/etc/passwd")
    os.chown(registry, 12345, 12345, follow_symlinks=False)
    assert REGISTRY in taken_names(None, tmp_path)
    registry.unlink()
    os.mkfifo(registry)
    os.chown(registry, 12345, 12345)
    assert REGISTRY in taken_names(None, tmp_path)
