"""Presets: saved values, damage, killed writers, rejected calls."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.controls import defaults
from firmware_py.base.ownership import become_owner_of_data
from firmware_py.state.preset_file import (
    KEPT,
    MAX_PRESETS,
    Preset,
    PresetError,
    digest_of,
    parse_presets,
    to_bytes,
)
from firmware_py.state.presets import KEPT_VERSIONS, Presets
from firmware_py.state.versions import Versions
from models.residual import OCTAVES, STEPS, Residual

VALUES = defaults()
RESIDUAL = Residual(
    np.zeros(8), np.ones(OCTAVES), np.zeros((OCTAVES, STEPS)), np.full(OCTAVES, -np.inf)
).to_text()


@pytest.fixture
def presets(tmp_path) -> Presets:
    return Presets(tmp_path)


def watched(folder: Path) -> tuple[Presets, list[str]]:
    """The presets of a folder, and the lines that they log."""
    told: list[str] = []
    return Presets(folder, told.append), told


def write_by_hand(path: Path, presets: list[dict], **more: object) -> None:
    """A file with a right checksum."""
    body = {"version": 1, "startup": None, "presets": presets} | more
    path.write_text(json.dumps(body | {"sha256": digest_of(body)}))


def row(name: str, **values: float) -> dict:
    return {"name": name, "bank": "", "values": values}


def test_save_is_loaded_by_another_process(presets: Presets, tmp_path) -> None:
    presets.save("Great Hall", VALUES | {"x": 1 / 3, "lock": 1.0}, "/banks/halls")
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
    assert "lock" not in preset["values"]


def test_residual_is_kept_renamed_exported_and_installed(presets: Presets, tmp_path) -> None:
    """A file without residuals stays as it was before there were any. A damaged residual is
    reported and left out; the preset stays."""
    plain = presets.save("Plain", VALUES)
    assert "residual" not in presets.path.read_text().replace('"residual": 3.0', "")
    presets.save("Crypt", VALUES, "", RESIDUAL)
    presets.rename("Crypt", "Vault")
    again = Presets(tmp_path)
    assert again.load("Vault").residual == RESIDUAL and again.load("Plain") == plain
    installed = parse_presets(to_bytes(again.all()), "file", pytest.fail)
    assert installed == again.all()
    told: list[str] = []
    damaged = to_bytes([Preset("Vault", VALUES, "", RESIDUAL)]).replace(b'"AQ', b'"zQ')
    (left,) = parse_presets(damaged, "file", told.append)
    assert left == Preset("Vault", VALUES) and len(told) == 1 and "version 205" in told[0]


def test_presets_keep_order_steps_and_numbers(presets: Presets) -> None:
    assert presets.following(None, 1) == []
    for name in ("a", "b", "c"):
        presets.save(name, VALUES)
    for current, by, order in (
        (None, 1, "abc"),
        (None, -1, "acb"),
        ("a", 1, "bca"),
        ("c", 1, "abc"),
        ("a", -1, "cba"),
        ("B", -1, "acb"),
        ("gone", 1, "abc"),
    ):
        assert "".join(preset.name for preset in presets.following(current, by)) == order
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
    presets.remove("b")
    assert presets.startup is None
    assert presets.names() == []


def test_undo_goes_back_ten_changes_one_by_one(presets: Presets) -> None:
    states = [[]]
    for number in range(12):
        presets.save(f"preset {number}", {"mix": 1.0 * number})
        states.append(presets.names())
    presets.set_startup(None)  # changes nothing: no version of its own
    for expected in states[-2:-12:-1]:
        before, after = presets.undo()
        assert len(before) == len(after) + 1
        assert presets.names() == [preset.name for preset in after] == expected
    with pytest.raises(PresetError, match="nothing to undo"):
        presets.undo()
    presets.remove("1")  # by its number
    assert presets.names() == ["preset 1"]
    presets.undo()
    assert presets.names() == ["preset 0", "preset 1"]


def test_undo_passes_over_damaged_versions(presets: Presets) -> None:
    for name in "abc":
        presets.save(name, {})
    folder = presets.path.parent
    (folder / "presets.previous.json").write_bytes(b"{")
    presets.undo()
    assert presets.names() == ["a"]
    assert not (folder / "presets.previous.json").exists()


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
        (lambda: presets.remove("zzz"), "no preset"),
        (lambda: presets.set_startup("zzz"), "no preset"),
    ]:
        with pytest.raises((PresetError, ValueError), match=says):
            refused()
    assert presets.path.read_bytes() == before


def test_save_rejects_more_than_max_presets(presets: Presets) -> None:
    presets.merge([Preset(f"preset {number}", {}, "") for number in range(MAX_PRESETS)])
    with pytest.raises(PresetError, match="remove one"):
        presets.save("one more", {})
    presets.save("preset 5", {"mix": 1.0})  # an existing one can change


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_flipped_bit_restores_previous_version(tmp_path_factory, where: float, bit: int) -> None:
    told: list[str] = []
    presets = Presets(tmp_path_factory.mktemp("presets"), told.append)
    presets.save("a", {"mix": 10.0})
    presets.save("a", {"mix": 20.0})
    data = bytearray(presets.path.read_bytes())
    data[int(where * len(data))] ^= 1 << bit
    presets.path.write_bytes(data)
    mix = presets.load("a").values["mix"]
    assert (mix, bool(told)) in (
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
    presets, told = watched(presets.path.parent)
    assert presets.names() == ["a"]
    assert presets.names() == ["a"]
    (line,) = told  # once
    assert "damaged" in line
    presets.save("c", {})
    assert presets.names() == ["a", "c"]
    assert told == [line]
    assert (presets.path.parent / "presets.damaged.json").read_bytes() == damage
    presets.path.write_bytes(damage)
    presets.names()
    assert told == [line, line]  # damaged again


def test_both_versions_damaged_is_one_error_line(presets: Presets) -> None:
    for name in "ab":
        presets.save(name, {})
    for path in presets.path.parent.glob("presets*.json"):
        path.write_bytes(b"{")
    with pytest.raises(PresetError, match=r"presets\.json: damaged.*delete it"):
        presets.names()


COMPOSED, DECOMPOSED = "Caf\u00e9", "Cafe\u0301"


def test_names_that_read_alike_are_one_preset(presets: Presets) -> None:
    presets.save(DECOMPOSED, {"mix": 1.0})
    presets.save("Hall", {"mix": 2.0})
    presets.save(COMPOSED, {"mix": 3.0})
    presets.save("hALL", {"mix": 4.0})
    assert presets.names() == [COMPOSED, "Hall"]
    assert presets.load("HALL").values == {"mix": 4.0}
    assert presets.load(DECOMPOSED.upper()).values == {"mix": 3.0}
    with pytest.raises(PresetError, match="exists already"):
        presets.rename("hall", DECOMPOSED.upper())
    presets.set_startup("HALL")
    presets.rename("HALL", "hall")  # only the spelling
    assert presets.startup.name == "hall"
    presets.merge([presets.load("hall"), *parse_presets(to_bytes(presets.all()), "file", str)])
    assert presets.names() == [COMPOSED, "hall"]
    presets.remove("CAFE\u0301")
    assert presets.names() == ["hall"]


def test_old_file_with_equal_names_loads_both_and_renames_the_second_aloud(tmp_path) -> None:
    presets, told = watched(tmp_path)
    long = "x" * 40
    rows = [
        row("Hall", mix=1.0),
        row("hall", mix=2.0),
        row("HALL", mix=3.0),
        row("hall 2", mix=4.0),
    ]
    write_by_hand(presets.path, [*rows, row(long), row(long.upper())], startup="HALL")
    assert presets.names()[:4] == ["Hall", "hall 2", "HALL 3", "hall 2 2"]
    assert presets.names()[4:] == [long, "X" * 38 + " 2"]
    assert presets.startup.values == {"mix": 3.0}
    assert len(told) == 4
    assert "'hall'" in told[0] and "'hall 2'" in told[0]
    presets.save("new", {})  # now the names are in the file
    presets, told = watched(tmp_path)
    assert presets.load("HALL 3") == presets.startup
    assert not told


@pytest.mark.parametrize("evil", ["\x1b]0;PWN\x07\x1b[31mX\nnverb: fine", "a\0b", "\u202eabc"])
def test_names_in_a_planted_file_are_shown_without_control_characters(tmp_path, evil: str) -> None:
    presets, told = watched(tmp_path)
    write_by_hand(presets.path, [row(evil), row(""), row("y" * 100_000)])
    names = presets.names()
    assert all(name.isprintable() and 1 <= len(name) <= 40 for name in names)
    assert names[1:] == ["unnamed", "y" * 40]
    assert len(told) == 3 and all(line.isprintable() for line in told)
    assert presets.load(names[0]).name == names[0]


@pytest.mark.parametrize(
    "rows",
    [
        [row("a", x=10**400)],
        [row("a", x=[1])],
        [{"name": "a", "bank": "", "values": 3}],
        [{"name": "a"}],
        ["a"],
        "abc",
        {"a": 1},
        None,
    ],
)
def test_rows_that_are_none_count_as_damage(tmp_path, rows) -> None:
    presets, told = watched(tmp_path)
    presets.save("good", {})
    presets.save("good", {"mix": 1.0})
    write_by_hand(presets.path, rows)
    assert presets.names() == ["good"]
    assert "damaged" in told[0]
    with pytest.raises(PresetError, match="here"):
        parse_presets(presets.path.read_bytes(), "here", str)


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize("harm", [make_pipe, make_folder, make_loop])
@pytest.mark.parametrize("name", ["presets.json", "presets.previous.json"])
def test_unreadable_file_is_left_alone_and_comes_back(tmp_path, harm, name: str) -> None:
    presets = Presets(tmp_path)
    for each in "abc":
        presets.save(each, {})
    if name == "presets.previous.json":
        presets.path.write_bytes(b"{")  # only then is it read
    path = tmp_path / name
    content = path.read_bytes()
    harm(path)
    kind = os.lstat(path).st_mode
    before = {each.name for each in tmp_path.iterdir()}
    for _ in range(2):
        for refused in (
            presets.names,
            lambda: presets.load("a"),
            lambda: presets.save("d", {}),
            lambda: presets.remove("a"),
            lambda: presets.merge([]),
            presets.banks,
        ):
            with pytest.raises(PresetError, match=f"cannot be read.*{name}"):
                refused()
    assert os.lstat(path).st_mode == kind
    assert {each.name for each in tmp_path.iterdir()} == before
    path.rmdir() if path.is_dir() else path.unlink()
    path.write_bytes(content)
    presets.save("d", {})
    assert presets.names() == (["a", "b", "c", "d"] if name == "presets.json" else ["a", "b", "d"])


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE, errno.ENFILE])
def test_failing_disk_is_no_damage(presets: Presets, monkeypatch, number: int) -> None:
    for each in "abc":
        presets.save(each, {})
    before = {path.name: path.read_bytes() for path in presets.path.parent.iterdir()}
    real = os.open

    def fail(path, *rest, **more):
        if str(path).endswith("presets.json"):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", fail)
    for refused in (presets.names, lambda: presets.save("d", {})):
        with pytest.raises(PresetError, match=os.strerror(number)):
            refused()
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in presets.path.parent.iterdir()} == before


def test_file_of_a_newer_version_is_no_damage(presets: Presets) -> None:
    presets.save("a", {})
    write_by_hand(presets.path, [row("a")], version=2)
    before = presets.path.read_bytes()
    with pytest.raises(PresetError, match=r"version 2.*update"):
        presets.save("b", {})
    assert presets.path.read_bytes() == before


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_presets_of_a_foreign_editor_are_read(presets: Presets, encoding: str) -> None:
    presets.save("Größe", {"mix": 1.0})
    text = presets.path.read_text().replace("\n", "\r\n")
    presets.path.write_bytes(text.encode(encoding))
    assert presets.names() == ["Größe"]
    (preset,) = parse_presets(presets.path.read_bytes(), "file", str)
    assert preset.values == {"mix": 1.0}


def test_planted_links_lead_save_to_no_other_file(presets: Presets, tmp_path_factory) -> None:
    """A member of the group cannot make another user write elsewhere."""
    victim = tmp_path_factory.mktemp("victim") / "precious"
    victim.write_text("precious")
    presets.save("a", {})
    folder = presets.path.parent
    for name in (f".presets.json.{os.getpid()}.new", ".presets.previous.json.new"):
        (folder / name).symlink_to(victim)
    presets.save("b", {})
    assert presets.names() == ["a", "b"]
    for name in (".presets.lock", "presets.json", "presets.previous.json"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(victim.parent / "new")
        with contextlib.suppress(OSError, PresetError):
            presets.save("c", {})
        (folder / name).unlink(missing_ok=True)
    assert victim.read_text() == "precious"
    assert os.listdir(victim.parent) == ["precious"]


def test_values_of_another_version_are_left_out(presets: Presets) -> None:
    presets.save("a", {"mix": 10.0})
    table = json.loads(presets.path.read_text())
    table.pop("sha256")
    table["presets"][0]["values"] |= {"sparkle": 3, "predelay": 1e9}
    presets, told = watched(presets.path.parent)
    presets.path.write_text(json.dumps(table | {"sha256": digest_of(table)}))
    assert presets.load("a").values == {"mix": 10.0}
    assert all("left out" in line for line in told) and len(told) == 2


def test_killed_writer_leaves_complete_file(tmp_path) -> None:
    presets, told = watched(tmp_path)
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
        assert not told
        presets.save("steady", VALUES)  # no lock is left behind
    assert {path.name for path in tmp_path.iterdir()} <= {
        "presets.json",
        ".presets.lock",
        *(path.name for path in Versions(presets.path, KEPT_VERSIONS).files),
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
                if user == 0:
                    os.environ["NVERB_DATA_DIR"] = str(folder)
                    become_owner_of_data()
                else:
                    os.setgroups([])
                    os.setgid(group)
                    os.setuid(user)
                Presets(folder).save(f"by {user}", VALUES)
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0, f"turn {turn}, user {user}"
    assert Presets(folder).names() == ["by 0", "by 64002", "by 64003"]
    with pytest.raises(PermissionError, match="run this as the owner"):
        Presets(folder).save("as root", VALUES)
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
        os, "replace", lambda a, b, **at: (calls.append(os.path.basename(b)), replace(a, b, **at))
    )
    presets.save("a", {})
    assert calls == ["file", "presets.json", "folder"]
