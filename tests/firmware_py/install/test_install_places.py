"""Installing on a disk that is full or read-only, and with a clock in 1970."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import quick_trials
from test_install import playing, put, roll_back, use
from waiting import HANG_S

from bank.build import build
from dsp.errors import UserError
from firmware_py.base.progress import Report
from firmware_py.install import installer
from firmware_py.install.receive import Offer
from firmware_py.rooms import source
from firmware_py.state.presets import Presets
from firmware_py.state.store import Store
from models.generator import room_at


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("banks")
    build(folder / "a.nvbank", room_at, steps=2, name="bank a")
    build(folder / "b.nvbank", lambda x, y, z: room_at(-x, y, z), steps=2, name="bank b")
    return folder


Mount = Callable[[str], None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Mount]]:
    """A data folder on its own file system of 10 MiB and 40 files, and a function to remount it."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    data = tmp_path / "data"
    data.mkdir()

    def mount(options: str) -> None:
        words = [
            "mount",
            "-t",
            "tmpfs",
            "-o",
            f"size=10m,nr_inodes=40,{options}",
            "nverb-test",
            os.fspath(data),
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode and "remount" not in options:
            pytest.skip(f"cannot mount here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr

    mount("rw")
    try:
        yield data, mount
    finally:
        subprocess.run(["umount", "--lazy", os.fspath(data)], check=True)


def fill_bytes(data: Path) -> None:
    with suppress(OSError), open(data / "filler", "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def fill_names(data: Path) -> None:
    with suppress(OSError):
        for number in range(100):
            (data / f"filler{number}").touch()


@pytest.mark.parametrize(
    ("stage", "fill"),
    [
        ("before", fill_bytes),
        ("receiving", fill_bytes),
        ("switching", fill_bytes),
        ("receiving", fill_names),
        ("switching", fill_names),
    ],
)
def test_disk_full_at_any_stage_keeps_pedal_playing(
    disk: tuple[Path, Mount],
    files: Path,
    stage: str,
    fill: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another process fills the disk during the installation."""
    data, _ = disk
    put(data, (files / "a.nvbank").read_bytes(), "a.nvbank")
    content = (files / "b.nvbank").read_bytes()

    class Filler(Report):
        def progress(self, now: str, done: int, total: int) -> None:
            if now == stage:
                fill(data)

    if stage == "before":
        fill(data)

    def pieces(at: int) -> Iterator[bytes]:
        return (content[begin : begin + 10_000] for begin in range(at, len(content), 10_000))

    offer = Offer("b.nvbank", size=len(content))
    try:
        installer.install(offer, pieces, data=data, report=Filler(), live=lambda: "plays")
        assert playing(data) == "b"
    except UserError as error:
        assert playing(data) == "a"
        assert "nverb remove" in str(error) and "\n" not in str(error)
    monkeypatch.setenv("NVERB_DATA_DIR", os.fspath(data))
    complaints: list[str] = []
    assert (
        source.installed_rooms(complaints.append)[0].name == f"bank {playing(data)}"
        and not complaints
    )
    for path in data.glob("filler*"):
        path.unlink()
    put(data, content, "b.nvbank")
    assert playing(data) == "b" and not list((data / "store/incoming").iterdir())


def test_read_only_disk_rejects_changes(
    disk: tuple[Path, Mount], files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, mount = disk
    for name in "ab":
        put(data, (files / f"{name}.nvbank").read_bytes(), f"{name}.nvbank")
    mount("remount,ro")
    monkeypatch.setenv("NVERB_DATA_DIR", os.fspath(data))
    for what in (
        lambda: put(data, (files / "a.nvbank").read_bytes(), "a.nvbank"),
        lambda: use(data, "a"),
        lambda: roll_back(data),
        lambda: installer.remove("a", None, data=data),
    ):
        with pytest.raises(UserError, match="read-only") as caught:
            what()
        assert "\n" not in str(caught.value)
        assert playing(data) == "b"
    with pytest.raises((UserError, OSError), match=r"[Rr]ead-only"):
        Presets(data).save("mine", {"mix": 10.0}, "")
    assert [row["name"] for row in installer.listing(data)] == ["b", "a"]
    assert source.installed_rooms(pytest.fail)[0].name == "bank b"
    mount("remount,rw")
    roll_back(data)
    assert playing(data) == "a"


def test_install_works_with_clock_in_1970(tmp_path: Path, files: Path) -> None:
    """All processes, ssh-keygen included, and the times of all files are in 1970."""
    library, data = tmp_path / "clock1970.so", tmp_path / "data"
    source = Path(__file__).parent / "faults" / "clock1970.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    environment = os.environ | {"LD_PRELOAD": os.fspath(library), "NVERB_DATA_DIR": os.fspath(data)}
    said = subprocess.run(
        ["date", "-u", "+%Y"], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout == "1970\n"

    def nverb(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, quick_trials.__file__, *map(str, words)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=HANG_S
        )
        for path in [data, *data.rglob("*")]:  # as the board's kernel would write
            if path != signers:
                os.utime(path, (3600, 3600), follow_symlinks=False)
        return done

    data.mkdir()
    signers = data / "trust" / "allowed_signers"
    signers.parent.mkdir()
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True
    )
    key = (tmp_path / "key.pub").read_text()
    # Written at a desk and copied with its time: the board knows that it is not earlier.
    signers.write_text(
        f'anna@example.org namespaces="nverb",valid-after="20250101",valid-before="20990101" {key}'
    )
    for name in "ab":
        shutil.copy(files / f"{name}.nvbank", tmp_path)
        file = tmp_path / f"{name}.nvbank"
        subprocess.run(
            ["ssh-keygen", "-q", "-Y", "sign", "-n", "nverb", "-f", tmp_path / "key", file],
            check=True,
        )
        done = nverb("install", file)
        assert done.returncode == 0 and playing(data) == name, done.stderr
    assert nverb("rollback", "bank").returncode == 0 and playing(data) == "a"
    assert nverb("use", "b").returncode == 0 and playing(data) == "b"
    os.utime(signers, (3600, 3600))  # written in 1970 too: no key is valid yet
    done = nverb("install", tmp_path / "a.nvbank")
    assert done.returncode == 1 and "signature" in done.stderr and done.stderr.count("\n") == 1, (
        done
    )
    assert playing(data) == "b" and len(Store(data).slots()) == 2
