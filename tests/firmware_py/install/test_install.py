"""Installing: rejected files, rollback, and the switch of a running pedal without a click."""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from other_users import can_run_this_python
from playing import RATE_HZ, ask, roughness, settle, sine, status, take
from shared_noise import SharedNoise
from waiting import HANG_S, wait_until

from bank.build import build
from device.controls import find, to_position
from dsp.errors import UserError
from firmware_py.base.progress import Report
from firmware_py.control.install_processes import MAX_AT_ONCE
from firmware_py.desk.private_pedal import private_pedal, wait_for_room
from firmware_py.desk.supervisor import Supervisor
from firmware_py.install import desk_end, receive, trial
from firmware_py.install import installer as install
from firmware_py.install.receive import MAX_BYTES, Offer, kind_of
from firmware_py.rooms import source as rooms
from firmware_py.state.preset_file import Preset, parse_presets, to_bytes
from firmware_py.state.presets import Presets
from firmware_py.state.store import KEPT_SLOTS, Store, StoreError, slot_name
from models.generator import room_at


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Four banks of different rooms."""
    folder = tmp_path_factory.mktemp("banks")
    turned = {"a": (1, 1, 1), "b": (-1, 1, 1), "c": (1, -1, 1), "d": (1, 1, -1)}
    for name, (i, j, k) in turned.items():
        build(
            folder / name,
            lambda x, y, z, i=i, j=j, k=k: room_at(i * x, j * y, k * z),
            steps=2,
            name=f"bank {name}",
        )  # type: ignore[misc]
    return {name: (folder / name).read_bytes() for name in turned}


def put(data: Path, content: bytes, name: str = "a.nvbank", live=lambda: "plays", **known) -> str:
    def receive(at: int) -> Iterator[bytes]:
        for begin in range(at, len(content), 10_000):
            yield content[begin : begin + 10_000]

    return install.install(Offer(name, **known), receive, data=data, report=Report(), live=live)


def playing(data: Path) -> str:
    slot = Store(data).current().playing
    return slot.name if slot else ""


def use(data: Path, name: str) -> str:
    return install.use(name, None, data=data, report=Report(), live=lambda: "plays")


def roll_back(data: Path) -> str:
    return install.roll_back("bank", data=data, report=Report(), live=lambda: "plays")


def test_store_commands_list_use_roll_back_and_remove(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    for name in "abc":
        put(tmp_path, files[name], f"{name}.nvbank")
    rows = install.listing(tmp_path)
    assert [(row["name"], row["plays"]) for row in rows] == [
        ("c", True),
        ("b", False),
        ("a", False),
    ]
    roll_back(tmp_path)
    assert playing(tmp_path) == "b"
    roll_back(tmp_path)  # undoes the first rollback
    assert playing(tmp_path) == "c"
    use(tmp_path, rows[2]["sha256"][:8])
    assert playing(tmp_path) == "a"
    with pytest.raises(StoreError, match=r"a@.* plays: `nverb use` another one"):
        install.remove("a", None, data=tmp_path)
    install.remove("c", None, data=tmp_path)
    use(tmp_path, "built-in")
    assert playing(tmp_path) == ""
    assert {row["name"] for row in install.listing(tmp_path)} == {"a", "b"}
    Presets(tmp_path).save("Hall", {}, rows[2]["reference"])
    assert "preset Hall cannot play until" in install.remove("a", None, data=tmp_path)
    assert [(row["name"], row["in_use"]) for row in install.listing(tmp_path)] == [("b", False)]
    with pytest.raises(StoreError, match="did you mean"):
        Store(tmp_path).find("bb")


def test_rollback_of_first_installation_restores_built_in_rooms(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    put(tmp_path, files["a"])
    roll_back(tmp_path)
    assert playing(tmp_path) == ""
    with pytest.raises(StoreError, match="nothing to roll back"):
        install.roll_back("model", data=tmp_path, report=Report(), live=lambda: "plays")


def test_rollback_of_model_restores_bank(tmp_path: Path, files: dict[str, bytes]) -> None:
    from models.decoder import SHIPPED

    put(tmp_path, files["a"], "a.nvbank")
    put(tmp_path, (SHIPPED / "decoder.nvmodel").read_bytes(), "decoder.nvmodel")
    assert playing(tmp_path) == "decoder"
    install.roll_back("model", data=tmp_path, report=Report(), live=lambda: "plays")
    assert playing(tmp_path) == "a"
    with pytest.raises(UserError, match="not a room decoder"):
        put(tmp_path, (SHIPPED / "encoder.nvmodel").read_bytes(), "encoder.nvmodel")
    assert playing(tmp_path) == "a"


def test_prune_keeps_banks_of_presets(tmp_path: Path) -> None:
    banks = tmp_path / "banks"
    banks.mkdir()
    for number in range(KEPT_SLOTS + 3):
        build(
            banks / "bank", lambda x, y, z, n=number: room_at(x / (n + 2), y, z), steps=2, name="x"
        )  # type: ignore[misc]
        put(tmp_path, (banks / "bank").read_bytes(), f"bank {number}.nvbank")
        if number == 0:
            Presets(tmp_path).save(
                "old friend", {"mix": 10.0}, Store(tmp_path).current().playing.reference
            )
    names = {row["name"] for row in install.listing(tmp_path)}
    assert names == {"bank 0"} | {f"bank {number}" for number in range(3, KEPT_SLOTS + 3)}


def test_preset_finds_bank_by_hash_then_by_name(
    tmp_path: Path, files: dict[str, bytes], monkeypatch
) -> None:
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    put(tmp_path, files["a"], "halls.nvbank")
    reference = Store(tmp_path).current().playing.reference
    put(tmp_path, files["b"], "halls.nvbank")  # a newer bank of that name
    assert rooms.rooms_named(reference).name == "bank a"
    install.remove(reference, None, data=tmp_path)
    assert rooms.rooms_named(reference).name == "bank b"
    with pytest.raises(StoreError, match="no bank or model"):
        rooms.rooms_named("springs@0123456789ab")


@pytest.mark.parametrize("damage", ["flipped", "short", "gone", "folder"])
def test_damaged_slot_falls_back_to_previous_with_one_warning(
    tmp_path: Path, files: dict[str, bytes], monkeypatch, damage: str
) -> None:
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    put(tmp_path, files["a"], "a.nvbank")
    put(tmp_path, files["b"], "b.nvbank")
    path = Store(tmp_path).current().playing.path
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "flipped":
        content[20_000] ^= 1
        path.write_bytes(content)
    elif damage == "short":
        path.write_bytes(content[:1000])
    elif damage == "folder":
        path.mkdir()
    said: list[str] = []
    source, reference = rooms.installed_rooms(said.append)
    assert source.name == "bank a" and reference.startswith("a@")
    assert len(said) == 1 and "b@" in said[0]
    if damage != "folder":
        put(tmp_path, files["b"], "b.nvbank")  # installing it again repairs it
        assert rooms.installed_rooms(said.append)[0].name == "bank b"
        assert len(said) == 1


def test_broken_current_link_still_plays(
    tmp_path: Path, files: dict[str, bytes], monkeypatch
) -> None:
    monkeypatch.setenv("NVERB_DATA_DIR", str(tmp_path))
    put(tmp_path, files["a"])
    current = tmp_path / "store" / "current"
    for scramble in (
        lambda: current.symlink_to("generations/999999"),
        lambda: current.write_bytes(b"\xff" * 100),
        lambda: current.symlink_to(current),
        current.mkdir,
        lambda: None,
    ):
        if current.is_dir() and not current.is_symlink():
            current.rmdir()
        else:
            current.unlink(missing_ok=True)
        scramble()
        source, _ = rooms.installed_rooms(lambda _: None)
        assert np.isfinite(source.energy_map(0, 0, 0).level_db).all()


@pytest.mark.parametrize("answer", [UserError("it will not"), ValueError("no room")])
def test_install_rolls_back_when_pedal_refuses(
    tmp_path: Path, files: dict[str, bytes], answer: Exception
) -> None:
    put(tmp_path, files["a"], "a.nvbank")

    def refuse() -> str:
        raise answer

    with pytest.raises(UserError, match="rolled back"):
        put(tmp_path, files["b"], "b.nvbank", live=refuse)
    assert playing(tmp_path) == "a"
    assert [row["name"] for row in install.listing(tmp_path)] == ["a"]
    with pytest.raises(UserError, match="rolled back"):
        install.roll_back("bank", data=tmp_path, report=Report(), live=refuse)
    assert playing(tmp_path) == "a"


def test_install_rejects_damaged_bank(tmp_path: Path, files: dict[str, bytes]) -> None:
    put(tmp_path, files["a"], "a.nvbank")
    flipped = bytearray(files["b"])
    flipped[len(flipped) // 2] ^= 0x10
    (tmp_path / "nan").mkdir()
    build(tmp_path / "nan" / "bank", room_at, steps=2, name="nan")
    with pytest.raises(UserError, match="SHA-256"):
        put(tmp_path, bytes(flipped), "b.nvbank")
    assert playing(tmp_path) == "a"
    assert not list((tmp_path / "store" / "incoming").iterdir())


def test_trial_reports_crash_hang_and_memory_limit() -> None:
    def crash() -> None:
        faulthandler.disable()
        os.kill(os.getpid(), 11)

    def eat() -> None:
        np.ones(1 << 30)

    def burn() -> None:
        raise RuntimeError("burnt\nout")

    for what, says in ((crash, "SIGSEGV"), (eat, "memory"), (burn, "burnt out")):
        with pytest.raises(trial.TrialError, match=says):
            trial.run(what)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial, "MAX_WALL_S", 0.2)
        with pytest.raises(trial.TrialError, match="more than"):
            trial.run(lambda: time.sleep(600))


def test_trial_that_waits_for_the_processor_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MAX_WALL_S", 0.01)
    monkeypatch.setattr(trial, "LEAST_CPU_S", 0.0)
    trial.run(lambda: time.sleep(0.2))
    monkeypatch.setattr(trial, "MOST_WALL_S", 0.05)
    with pytest.raises(trial.TrialError, match="more than"):
        trial.run(lambda: time.sleep(600))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\0" * 1000, "not a bank, model"),
        (random.Random(1).randbytes(4096), "not a bank, model"),
        (b"nverbank" + b"\xff" * 200, "more than|version"),
        (b"NVMODEL\0" + bytes(1000), "model format"),
        (b"{}", "not a file of presets"),
        (b"{" * 200, "not a file of presets"),
        (b'{"version": 9, "presets": []}', "version 9"),
        (b"title = 3", "title"),
        (b"knob = [", "not a bank, model, preset or profile"),
    ],
)
def test_install_rejects_foreign_file_in_one_line(
    tmp_path: Path, content: bytes, says: str
) -> None:
    with pytest.raises((UserError, ValueError), match=says) as caught:
        put(tmp_path, content, "thing")
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)
    assert not list((tmp_path / "store" / "incoming").iterdir())


def test_receive_rejects_endless_input_early(tmp_path: Path, files: dict[str, bytes]) -> None:
    taken = 0

    def flood(head: bytes) -> Iterator[bytes]:
        nonlocal taken
        yield head
        while True:
            taken += 1 << 17
            yield b"a" * (1 << 17)

    for head, most in (
        (os.urandom(100), 0),
        (b"\0" * 100, 0),
        (b"a" * 100, 1 << 17),
        (b"{", 1 << 21),
        (files["a"], 1 << 17),
    ):
        taken = 0
        with pytest.raises((UserError, ValueError)):
            install.install(
                Offer("flood"),
                lambda _, head=head: flood(head),
                data=tmp_path,
                report=Report(),
                live=lambda: "",  # type: ignore[misc]
            )
        assert taken <= most
    with pytest.raises(UserError, match="more than the"):
        put(tmp_path, b"NVMODEL\0" + bytes(100), "m", size=MAX_BYTES["model"] + 1)


@given(head=st.binary(max_size=200))
def test_kind_of_accepts_or_rejects_any_bytes(head: bytes) -> None:
    try:
        assert kind_of(head[:64], "x") in MAX_BYTES
    except UserError as error:
        assert str(error).startswith("x: ")


@given(
    content=st.binary(max_size=2000) | st.text(max_size=500).map(str.encode),
    seed=st.integers(0, 2**32),
)
def test_parse_presets_accepts_or_rejects_any_bytes(content: bytes, seed: int) -> None:
    whole = bytearray(
        to_bytes([Preset("One", {"mix": 10.0}), Preset("Two", {"x": 1.0}, "a@123456789abc")])
    )
    random = np.random.default_rng(seed)
    for _ in range(3):
        whole[random.integers(len(whole))] = random.integers(256)
    for data in (content, bytes(whole)):
        try:
            parse_presets(data, "x", lambda _: None)
        except UserError as error:
            assert "\n" not in str(error)


@given(name=st.text(max_size=100))
def test_slot_name_is_valid_for_any_text(name: str) -> None:
    made = slot_name(name)
    assert 1 <= len(made) <= 40 and "/" not in made and "@" not in made and not made.startswith(".")
    assert made.isprintable()


def test_install_ignores_file_replaced_after_open(tmp_path: Path, files: dict[str, bytes]) -> None:
    """The opened file is installed, not a new one at its path; a change in place is rejected."""
    path = tmp_path / "in.nvbank"
    path.write_bytes(files["a"])
    file = receive.open_input(path)
    content = desk_end.Content.of(file, lambda *_: None)
    (tmp_path / "other").write_bytes(files["b"])
    os.replace(tmp_path / "other", path)
    put(
        tmp_path, b"".join(content.chunks(0)), "in.nvbank", size=content.size, sha256=content.sha256
    )
    assert Store(tmp_path).current().playing.path.read_bytes() == files["a"]
    os.close(file)
    file = receive.open_input(path)
    content = desk_end.Content.of(file, lambda *_: None)
    path.write_bytes(files["c"])
    with pytest.raises(UserError, match="send it again"):
        put(
            tmp_path,
            b"".join(content.chunks(0)),
            "in.nvbank",
            size=content.size,
            sha256=content.sha256,
        )
    os.close(file)
    assert Store(tmp_path).current().playing.path.read_bytes() == files["a"]


def test_full_disk_prunes_slots_or_reports(
    tmp_path: Path, files: dict[str, bytes], monkeypatch
) -> None:
    for name in "abc":
        put(tmp_path, files[name], f"{name}.nvbank")
    before = os.statvfs(tmp_path)

    def nearly_full(_: object) -> object:
        used = sum(path.stat().st_size for path in (tmp_path / "store" / "slots").iterdir())
        free = receive.RESERVE + 3 * len(files["a"]) - used
        return os.statvfs_result((1, 1, 0, 0, max(free, 0), *tuple(before)[5:]))

    monkeypatch.setattr(os, "statvfs", nearly_full)
    put(tmp_path, files["d"], "d.nvbank")  # a, the oldest, was removed
    assert {row["name"] for row in install.listing(tmp_path)} == {"b", "c", "d"}
    monkeypatch.setattr(
        os, "statvfs", lambda _: os.statvfs_result((1, 1, 0, 0, 0, *tuple(before)[5:]))
    )
    with pytest.raises(UserError, match="nverb remove"):
        put(tmp_path, files["a"], "a.nvbank")
    assert playing(tmp_path) == "d"


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.EROFS, "read-only"),
        (errno.ENOSPC, "full"),
        (errno.EACCES, "sudo"),
        (errno.EIO, "fails"),
    ],
)
def test_disk_error_reports_remedy(
    tmp_path: Path, files: dict[str, bytes], monkeypatch, number: int, says: str
) -> None:
    put(tmp_path, files["a"], "a.nvbank")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(UserError, match=says):
        put(tmp_path, files["b"], "b.nvbank")
    assert playing(tmp_path) == "a"


@pytest.mark.parametrize("refusal", [None, UserError("it will not")])
def test_disk_failure_after_switch_reports_active_bank(
    tmp_path: Path, files: dict[str, bytes], refusal: Exception | None
) -> None:
    put(tmp_path, files["a"], "a.nvbank")
    with pytest.MonkeyPatch.context() as patch:
        rename = os.rename

        def broken(*_: object) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        def fail() -> None:
            patch.setattr(os, "symlink", broken)
            patch.setattr("firmware_py.state.store.sync_folder", broken)

        def then_fail(old: Path, new: Path) -> None:
            rename(old, new)
            if Path(new).name == "current" and refusal is None:
                fail()

        def live() -> str:
            fail()
            assert refusal is not None
            raise refusal

        patch.setattr(os, "rename", then_fail)
        with pytest.raises(UserError, match=r"b@.* is active nevertheless") as caught:
            put(tmp_path, files["b"], "b.nvbank", live=live)
        assert ("it will not" if refusal else "read-only") in str(caught.value)
    assert playing(tmp_path) == "b"
    roll_back(tmp_path)
    assert playing(tmp_path) == "a"


def test_concurrent_installs_all_succeed(tmp_path: Path, files: dict[str, bytes]) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path[:0] = eval(sys.argv[1]);"
        "from quick_trials import quicken; from test_install import put; quicken();"
        "put(Path(sys.argv[2]), Path(sys.argv[3]).read_bytes(), Path(sys.argv[3]).name)"
    )
    for name in "abcd":
        (tmp_path / f"{name}.nvbank").write_bytes(files[name])
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, repr(sys.path), tmp_path, tmp_path / f"{name}.nvbank"]
        )
        for name in "abcd"
    ]
    assert [process.wait(HANG_S) for process in running] == [0, 0, 0, 0]
    assert {row["name"] for row in install.listing(tmp_path)} == set("abcd")
    assert playing(tmp_path) in set("abcd")


# Live.


@pytest.fixture(scope="module")
def pedal(
    tmp_path_factory: pytest.TempPathFactory, shared_noise: SharedNoise
) -> Iterator[Supervisor]:
    data = tmp_path_factory.mktemp("live")
    shared_noise.lend(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NVERB_DATA_DIR", str(data))
        with private_pedal(block_frames=256, rate_hz=RATE_HZ) as supervisor:
            wait_for_room(supervisor, HANG_S)
            yield supervisor


def nverb(*words: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "firmware_py.cli", *map(str, words)],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=HANG_S,
    )


def room() -> dict[str, object]:
    return dict(status()["room"])


@pytest.mark.live
def test_install_on_running_pedal_crossfades_without_click(
    pedal: Supervisor, files: dict[str, bytes], tmp_path: Path
) -> None:
    ask(
        {
            "do": "set",
            "values": {
                "gain": 0,
                "mix": 50,
                "mix_law": 2,
                "fade": 50,
                "x": 2,
                "y": 6,
                "z": 3,
                "width": 1,
            },
        }
    )
    (tmp_path / "a.nvbank").write_bytes(files["a"])
    serial = 0

    def install_another() -> None:
        nonlocal serial
        serial = status()["audio"]["playing_serial"]
        done = nverb("install", tmp_path / "a.nvbank")
        assert done.returncode == 0 and b"plays" in done.stdout, done.stderr

    def it_sounds() -> None:
        wait_until(lambda: status()["audio"]["playing_serial"] != serial, tend=pedal.tend)

    def built_in() -> None:
        assert nverb("use", "built-in").returncode == 0
        settle(pedal)

    heard = take(pedal, sine(240), prepare=built_in, during=[install_another, it_sounds])
    assert str(room()["path"]).startswith("a@") and room()["bank"] == "bank a"
    assert np.abs(heard).max() > 0.05
    assert roughness(heard[RATE_HZ:]).max() < 5e-3  # the bar of a 50 ms crossfade, as in test_pedal


@pytest.mark.live
def test_commands_use_store_of_running_pedal(pedal: Supervisor, files: dict[str, bytes]) -> None:
    """The commands have another data folder, and do not use it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NVERB_DATA_DIR", os.environ["NVERB_DATA_DIR"] + "-mine")
        assert nverb("install", "--name", "b", "-", stdin=files["b"]).returncode == 0
        assert str(room()["path"]).startswith("b@")
        assert b"* bank   b@" in nverb("list").stdout
        done = nverb("rollback", "bank")
        assert done.returncode == 0 and not str(room()["path"]).startswith("b@"), done.stderr
        assert nverb("use", "b").returncode == 0
        assert room()["bank"] == "bank b"
        bad = nverb("use", "nothing")
        assert bad.returncode == 1 and bad.stderr.count(b"\n") == 1
        for content, says in (
            (b"\0" * 10_000_000, b"not a bank"),
            (files["c"][:50_000], b"cut off"),
            (b"", b"empty"),
        ):
            bad = nverb("install", "-", stdin=content)
            assert bad.returncode == 1 and says in bad.stderr and bad.stderr.count(b"\n") == 1, bad
        assert room()["bank"] == "bank b"


@pytest.mark.live
def test_group_member_installs_and_other_user_is_rejected(
    pedal: Supervisor, files: dict[str, bytes]
) -> None:
    if not can_run_this_python():
        pytest.skip("other users cannot read this Python")
    group = 12345
    code = (
        "import os, sys; import argparse, json, select, socket; from firmware_py import cli;"
        "from firmware_py.commands import completers, table;"
        "from firmware_py.install import board_end, desk_end, installer, signatures;"
        "from firmware_py.base import ownership, paths, progress;"
        "from firmware_py.link import client as s; import firmware_py.state.store;"
        "table.build_parser();"
        "g = int(sys.argv[1]);"
        "os.geteuid() or (os.setgroups([g] if g else []),"
        " os.setresgid(65534, 65534, 65534), os.setresuid(65534, 65534, 65534));"
        "sys.exit(cli.main(sys.argv[2:]))"
    )
    runtime, data = Path(os.environ["NVERB_RUNTIME_DIR"]), Path(os.environ["NVERB_DATA_DIR"])
    if os.geteuid() == 0:  # as in systemd/; else the test runs as the pedal's user
        os.chown(runtime, -1, group)
        os.chmod(runtime, 0o750)
        os.chown(runtime / "control.sock", -1, group)

    def member(of: int, *words: str, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-c", code, str(of), *words],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=HANG_S,
        )

    done = member(group, "install", "--name", "from the group", "-", stdin=files["d"])
    assert done.returncode == 0, done.stderr
    slot = Store(data).find("from the group")
    assert slot.path.stat().st_uid == os.geteuid()
    assert room()["bank"] == "bank d"
    if os.geteuid() == 0:
        stranger = member(0, "install", "--name", "x", "-", stdin=files["a"])
        assert stranger.returncode == 1 and stranger.stderr.count(b"\n") == 1, stranger
    assert room()["bank"] == "bank d"


def sounding() -> tuple[int, int]:
    """PID of the audio process and serial of the room that it plays."""
    audio = status()["audio"]
    return audio["pid"], audio["playing_serial"]


def wait_until_another_sounds(pedal: Supervisor, before: tuple[int, int]) -> None:
    """Wait for another room from the same audio process."""
    wait_until(lambda: sounding()[1] != before[1], tend=pedal.tend)
    assert wait_for_room(pedal, HANG_S)["audio"]["pid"] == before[0]


@pytest.mark.live
def test_model_install_and_rollback_on_running_pedal(pedal: Supervisor) -> None:
    from models.decoder import SHIPPED

    first = room()
    for words, path, bank in (
        (("install", SHIPPED / "decoder.nvmodel"), "decoder@", "nverb rooms"),
        (("rollback", "model"), first["path"], first["bank"]),
    ):
        before = wait_for_room(pedal, HANG_S)["audio"]
        done = nverb(*words)
        assert done.returncode == 0 and b"plays" in done.stdout, done.stderr
        wait_until_another_sounds(pedal, (before["pid"], before["playing_serial"]))
        assert str(room()["path"]).startswith(str(path)) and room()["bank"] == bank


@pytest.mark.live
def test_profile_install_takes_effect_on_running_pedal(pedal: Supervisor) -> None:
    """The knob of width turns the predelay; all other values and the audio process stay."""
    from device.profile import PACKAGED

    profile = (PACKAGED / "sim.toml").read_text()
    before, turn = sounding(), 0

    def knob_of(name: str) -> bool:
        """True if a knob drives this control: a new value set from elsewhere moves it apart."""
        nonlocal turn
        turn = turn % 100 + 1
        ask({"do": "set", "values": {"width": 0.03 * turn, "predelay": turn}})
        return name in status()["board"]["apart"]

    assert knob_of("width") and not knob_of("predelay")
    values = ask({"do": "get"})["values"]
    try:
        changed = profile.replace('control = "width"', 'control = "predelay"').encode()
        done = nverb("install", "--kind", "profile", "--name", "sim", "-", stdin=changed)
        assert done.returncode == 0 and b"sim kept" in done.stdout, done.stderr
        wait_until(lambda: knob_of("predelay"), tend=pedal.tend)
        assert not knob_of("width")
        bad = nverb("install", "--kind", "profile", "--name", "sim", "-", stdin=b"knob = 3\n")
        assert bad.returncode == 1 and bad.stderr.count(b"\n") == 1, bad
        assert knob_of("predelay")
        after = ask({"do": "get"})["values"]
        assert sounding()[0] == before[0]
        for name in values.keys() - {
            "width",
            "predelay",
        }:  # a knob at its control's value may fine-tune it: 1 % of travel
            assert (
                abs(to_position(find(name), after[name]) - to_position(find(name), values[name]))
                < 0.01
            ), name
    finally:
        (Path(os.environ["NVERB_DATA_DIR"]) / "profiles" / "sim.toml").unlink()


@pytest.mark.live
def test_stalled_store_clients_do_not_block_controls(
    pedal: Supervisor, files: dict[str, bytes]
) -> None:
    from firmware_py.link.client import connect

    with contextlib.ExitStack() as stack:
        for _ in range(MAX_AT_ONCE):
            stack.enter_context(connect({"do": "store"}))
            assert ask({"do": "set", "values": {"mix": 33}})["values"]["mix"] == 33
    connection = wait_until(lambda: connect({"do": "store"}))
    connection.sendall(
        b'{"nverb": 1, "do": "install", "name": "x", "size": 1000000, "sha256": ""}\n'
    )
    connection.close()
    assert ask({"do": "get", "names": ["mix"]})["values"]["mix"] == 33


@pytest.mark.live
def test_pedal_starts_with_damaged_slot(pedal: Supervisor, files: dict[str, bytes]) -> None:
    """A complete pedal after a power-on with a damaged bank plays the previous one."""
    data = Path(os.environ["NVERB_DATA_DIR"])
    put(data, files["a"], "good.nvbank")
    put(data, files["b"], "bad.nvbank")
    path = Store(data).current().playing.path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    control = pedal.children[1].process
    assert control is not None
    (Path(os.environ["NVERB_RUNTIME_DIR"]) / "session.json").unlink(missing_ok=True)
    old = control.pid
    control.kill()
    control.wait()
    (Path(os.environ["NVERB_RUNTIME_DIR"]) / "session.json").unlink(missing_ok=True)
    wait_until(lambda: wait_for_room(pedal, HANG_S)["control"]["pid"] != old)
    assert str(room()["path"]).startswith(("good@", "a@"))


def test_nothing_slow_is_made_while_a_file_arrives(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The board sends no beats during a transfer, so the desk would give it up."""
    order: list[str] = []
    prepare = trial.prepare
    monkeypatch.setattr(trial, "prepare", lambda: (order.append("prepare"), prepare()))

    def receive(at: int) -> Iterator[bytes]:
        yield files["a"][at:]
        order.append("received")

    offer = Offer("a.nvbank")
    install.install(offer, receive, data=tmp_path, report=Report(), live=lambda: "plays")
    assert order[:2] == ["received", "prepare"]


@pytest.mark.parametrize("start", [b"NVMODEL\0", b"nverbank", b"title = 'x'\n", b'{"version": 1}'])
def test_sparse_file_is_refused_before_it_is_hashed(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "sparse"
    path.write_bytes(start)
    os.truncate(path, 1 << 40)
    with pytest.raises(UserError, match=r"sparse: (\d+ bytes are more|is not a bank)"):
        receive.open_input(path)
