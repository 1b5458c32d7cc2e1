"""Presets: saved values, damage, killed writers, rejected calls."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.controls import defaults
from firmware_py.state.presets import KEPT, MAX_PRESETS, PresetError, Presets

VALUES = defaults()


@pytest.fixture
def presets(tmp_path) -> Presets:
    return Presets(tmp_path)


def test_save_is_loaded_by_another_process(presets: Presets, tmp_path) -> None:
    presets.save("Great Hall", VALUES | {"x": 1 / 3, "freeze": 1.0}, "/banks/halls")
    code = (
        "import sys, json; from pathlib import Path; from firmware_py.state.presets import Presets;"
        "p = Presets(Path(sys.argv[1])).load('great hall'); print(json.dumps(vars(p)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, check=True, text=True
    ).stdout
    preset = json.loads(shown)
    assert preset["name"] == "Great Hall"
    assert preset["bank"] == "/banks/halls"
    assert preset["values"] == {name: VALUES[name] for name in KEPT} | {"x": 1 / 3}
    assert "freeze" not in preset["values"]


def test_presets_keep_order_steps_and_numbers(presets: Presets) -> None:
    assert presets.step(None, 1) is None
    for name in ("a", "b", "c"):
        presets.save(name, VALUES)
    assert [presets.step(current, 1).name for current in (None, "a", "b", "c", "gone")] == [
        "a",
        "b",
        "c",
        "a",
        "a",
    ]
    assert presets.step("a", -1).name == "c"
    presets.move("c", 0)
    assert presets.names() == ["c", "a", "b"]
    assert presets.at(1).name == "a"
    assert presets.at(3) is None
    presets.save("a", VALUES | {"mix": 77.0})  # keeps its place
    assert presets.names() == ["c", "a", "b"]
    assert presets.load("a").values["mix"] == 77.0


def test_startup_preset_follows_rename_and_delete(presets: Presets) -> None:
    assert presets.startup is None
    presets.save("a", VALUES)
    presets.set_startup("a")
    presets.rename("a", "b")
    assert presets.startup.name == "b"
    presets.delete("b")
    assert presets.startup is None
    assert presets.names() == []


def test_rejected_calls_change_nothing(presets: Presets) -> None:
    presets.save("Hall", VALUES)
    presets.save("Room", VALUES)
    before = presets.path.read_bytes()
    for refused, says in [
        (lambda: presets.load("Hal"), "did you mean Hall"),
        (lambda: presets.load("zzz"), "there are Hall, Room"),
        (lambda: presets.rename("Hall", "Room"), "exists already"),
        (lambda: presets.rename("Hall", ""), "not a name"),
        (lambda: presets.save("x" * 41, VALUES), "not a name"),
        (lambda: presets.save("a\x00b", VALUES), "not a name"),
        (lambda: presets.save("New", VALUES | {"mix": 101}), "0 to 100"),
        (lambda: presets.save("New", VALUES | {"mix": float("nan")}), "0 to 100"),
        (lambda: presets.delete("zzz"), "no preset"),
        (lambda: presets.set_startup("zzz"), "no preset"),
    ]:
        with pytest.raises((PresetError, ValueError), match=says):
            refused()
    assert presets.path.read_bytes() == before


def test_save_rejects_more_than_max_presets(presets: Presets) -> None:
    for number in range(MAX_PRESETS):
        presets.save(f"preset {number}", {})
    with pytest.raises(PresetError, match="delete one"):
        presets.save("one more", {})
    presets.save("preset 5", {"mix": 1.0})  # an existing one can change


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_flipped_bit_restores_previous_version(tmp_path_factory, where: float, bit: int) -> None:
    presets = Presets(tmp_path_factory.mktemp("presets"))
    presets.save("a", {"mix": 10.0})
    presets.save("a", {"mix": 20.0})
    data = bytearray(presets.path.read_bytes())
    data[int(where * len(data))] ^= 1 << bit
    presets.path.write_bytes(data)
    mix = presets.load("a").values["mix"]
    assert (mix, bool(presets.warning)) in (
        (10.0, True),
        (20.0, False),
    )  # a flip in white space has no effect


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b"null", b"\xff" * 100, b"[" * 100_000, b" " * 2_000_000]
)
def test_damaged_file_warns_and_next_save_repairs(presets: Presets, damage: bytes) -> None:
    presets.save("a", {"mix": 10.0})
    presets.save("b", {"mix": 20.0})
    presets.path.write_bytes(damage)
    assert presets.names() == ["a"]
    assert "damaged" in presets.warning
    presets.save("c", {})
    assert presets.names() == ["a", "c"]
    assert not presets.warning


def test_both_versions_damaged_is_one_error_line(presets: Presets) -> None:
    for name in "ab":
        presets.save(name, {})
    for path in presets.path.parent.glob("presets*.json"):
        path.write_bytes(b"{")
    with pytest.raises(PresetError, match=r"presets\.json: damaged.*delete it"):
        presets.names()


def test_values_of_another_version_are_left_out(presets: Presets) -> None:
    presets.save("a", {"mix": 10.0})
    table = json.loads(presets.path.read_text())
    table.pop("sha256")
    table["presets"][0]["values"] |= {"sparkle": 3, "predelay": 1e9}
    from firmware_py.state.presets import digest_of

    presets.path.write_text(json.dumps(table | {"sha256": digest_of(table)}))
    assert presets.load("a").values == {"mix": 10.0}
    assert "left out" in presets.warning


def test_killed_writer_leaves_complete_file(tmp_path) -> None:
    presets = Presets(tmp_path)
    presets.save("steady", VALUES)
    code = (
        "import sys, itertools; from pathlib import Path;"
        "from firmware_py.state.presets import Presets;"
        "p = Presets(Path(sys.argv[1])); print('go', flush=True);"
        "[p.save('busy', {'mix': n % 100}) for n in itertools.count()]"
    )
    for turn in range(8):
        writer = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
        writer.stdout.readline()
        time.sleep(0.005 + 0.003 * turn)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        assert presets.names()[0] == "steady"
        assert not presets.warning
        presets.save("steady", VALUES)  # no lock is left behind
    assert {path.name for path in tmp_path.iterdir()} == {
        "presets.json",
        "presets.previous.json",
        ".presets.lock",
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="changes users")
def test_save_by_several_users_of_the_group() -> None:
    """As on a board: `sudo nverb`, the pedal and a member of its group all write the file."""
    group = 64001
    folder = Path(tempfile.mkdtemp())
    os.chown(folder, 64002, group)
    folder.chmod(0o2775)
    for turn, user in enumerate((0, 64002, 64003, 0, 64002)):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.umask(0o022)
                os.setgroups([])
                os.setgid(0 if user == 0 else group)
                os.setuid(user)
                Presets(folder).save(f"by {user}", VALUES)
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0, f"turn {turn}, user {user}"
    assert Presets(folder).names() == ["by 0", "by 64002", "by 64003"]
    shutil.rmtree(folder)


def test_save_syncs_file_before_rename(presets: Presets, monkeypatch) -> None:
    """The order for a power cut: file synced, renamed, folder synced."""
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os,
        "fsync",
        lambda fd: (
            calls.append("folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "file"),
            fsync(fd),
        ),
    )
    monkeypatch.setattr(
        os, "replace", lambda a, b: (calls.append(os.path.basename(b)), replace(a, b))
    )
    presets.save("a", {})
    assert calls == ["file", "presets.json", "folder"]
