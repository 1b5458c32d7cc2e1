"""Banks of a model, built on all cores and on a Dask cluster; playback of interleaved banks."""

from __future__ import annotations

import math
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import dense_model
import numpy as np
import pytest
from waiting import HANG_S, wait_until

from bank.build import build_from_model
from bank.cluster import distribute
from bank.format import Bank, BankError, Waveform, write
from bank.resume import FinishedParts, completed, parts_path
from bank.stepped import SteppedBank
from device.controls import defaults
from firmware_py.cli import main
from firmware_py.rooms.maker import RoomMaker
from firmware_py.rooms.source import find_source
from models import reference
from models.decoder import Decoder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "small.nvmodel"
    dense_model.write_rooms(path)
    return path


def test_build_from_model_matches_decoder(model: Path, tmp_path: Path) -> None:
    """At its grid points, to half a step of the 8-bit levels."""
    path = tmp_path / "rooms.nvbank"
    assert main(["bank", "build", "--model", str(model), "--grid", "3", "-o", str(path)]) == 0
    bank, decoder = Bank.open(path), Decoder.open(model)
    bank.verify()
    assert (bank.steps, bank.name, bank.grid) == (3, "small", reference.GRID)
    for point in [(-2, -2, -2), (0, 2, -2), (2, 0, 0), (2, 2, 2)]:
        np.testing.assert_allclose(
            bank.energy_map(*point).level_db, decoder.energy_map(*point).level_db, atol=0.2501
        )


class Cluster(NamedTuple):
    address: str
    scheduler: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The last test with it kills it."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@contextmanager
def running_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A Dask scheduler and a worker, each in its own process."""
    address_file = tmp_path / "scheduler.json"
    address_file.unlink(missing_ok=True)
    started = []

    def start(role: str, *words: str) -> subprocess.Popen[bytes]:
        where = ("--host", "127.0.0.1", "--no-dashboard")
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{role}", *where, *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        started.append(process)
        return process

    def address() -> str | None:
        """None until the file is complete: Dask writes it in place."""
        text = address_file.read_text() if address_file.exists() else ""
        found = re.search(r'"address": "(tcp://[^"]+)"', text)
        return found and found[1]

    try:
        scheduler = start("scheduler", "--port", "0", "--scheduler-file", str(address_file))
        found = wait_until(address)
        start("worker", found, "--nthreads", "1", "--no-nanny")
        _await_worker(found)
        yield Cluster(found, scheduler)
    finally:
        for process in reversed(started):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await_worker(address: str) -> None:
    from distributed import Client

    with Client(address, timeout=HANG_S, set_as_default=False) as client:
        client.wait_for_workers(1, timeout=HANG_S)


@pytest.mark.xdist_group("cluster")
@pytest.mark.filterwarnings("default")
def test_cluster_builds_identical_bank(model: Path, cluster: Cluster, tmp_path: Path) -> None:
    here, there = tmp_path / "here.nvbank", tmp_path / "there.nvbank"
    assert main(["bank", "build", "--model", str(model), "--grid", "3", "-o", str(here)]) == 0
    assert (
        main(
            [
                "bank",
                "build",
                "--model",
                str(model),
                "--grid",
                "3",
                "-o",
                str(there),
                "--scheduler",
                cluster.address,
            ]
        )
        == 0
    )
    assert here.read_bytes() == there.read_bytes()


@pytest.mark.filterwarnings("default")
def test_missing_scheduler_is_reported(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bank.cluster.CONNECT_S", 1)
    path = tmp_path / "rooms.nvbank"
    path.write_bytes(b"the bank that was there")
    arguments = [
        "bank",
        "build",
        "--model",
        str(model),
        "--grid",
        "2",
        "-o",
        str(path),
        "--scheduler",
        "tcp://127.0.0.1:9",
    ]
    assert main(arguments) == 1
    assert re.fullmatch(
        r"nverb bank build: no Dask scheduler answers at tcp://127\.0\.0\.1:9 .*\n",
        capsys.readouterr().err,
    )
    assert path.read_bytes() == b"the bank that was there"


@pytest.mark.xdist_group("cluster")
@pytest.mark.filterwarnings("default")
def test_lost_scheduler_is_one_error_and_other_versions_are_refused(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bank.cluster.WORKERS_S", 1.0)
    monkeypatch.setattr("bank.cluster.POLL_S", 0.2)
    with monkeypatch.context() as older:
        older.setattr("bank.cluster.PROTOCOL", 99)
        with pytest.raises(BankError, match="install the same version"):
            next(distribute(math.pow, 2.0, [3.0], cluster.address))
    results = distribute(math.pow, 2.0, [1.0] * 200, cluster.address)
    assert next(results) == 2.0
    os.killpg(cluster.scheduler.pid, signal.SIGKILL)
    with pytest.raises(BankError, match=r"went away after .* run the same command again"):
        list(results)


@pytest.mark.filterwarnings("default")
def test_build_goes_on_after_the_loss_of_its_scheduler(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rooms that are finished are not made again, and the bank is that of one build."""
    monkeypatch.setattr("bank.cluster.WORKERS_S", 1.0)
    monkeypatch.setattr("bank.cluster.POLL_S", 0.2)
    monkeypatch.setattr("bank.build.SLICE", 4)
    here, there = tmp_path / "here.nvbank", tmp_path / "there.nvbank"
    data = model.read_bytes()
    build_from_model(here, data, steps=5, name="rooms")
    kept = 0

    def lose(done: int, of: int) -> None:
        nonlocal kept
        if done == 4:
            os.killpg(first.scheduler.pid, signal.SIGKILL)
        kept = done

    with running_cluster(tmp_path) as first, pytest.raises(BankError, match="goes on from there"):
        build_from_model(there, data, steps=5, name="rooms", scheduler=first.address, progress=lose)
    assert 4 <= kept < 125 and not there.exists()
    asked = []

    def counted(work: Any, common: Any, tasks: Any, scheduler: str | None = None) -> Iterator[Any]:
        asked.extend(tasks)
        return distribute(work, common, tasks, scheduler)

    monkeypatch.setattr("bank.build.distribute", counted)
    with running_cluster(tmp_path) as second:
        build_from_model(there, data, steps=5, name="rooms", scheduler=second.address)
    assert sum(map(len, asked)) == 125 - kept
    assert there.read_bytes() == here.read_bytes()
    assert not parts_path(there).exists()


def test_other_servers_and_bad_addresses_are_no_schedulers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A web server waits for a request; a scheduler speaks first."""
    monkeypatch.setattr("bank.cluster.GREETING_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(BankError, match="is no Dask scheduler"):
            next(distribute(math.pow, 2.0, [3.0], address))
    for address in ("localhost", "tcp://localhost", "tcp://localhost:port", ""):
        with pytest.raises(BankError, match="write tcp://HOST:8786"):
            next(distribute(math.pow, 2.0, [3.0], address))


def test_interrupted_build_goes_on_with_finished_parts(tmp_path: Path) -> None:
    """FinishedParts are made once; a torn one, and those of other work, are made again."""
    path, made = tmp_path / "out.nvbank", []

    def make(first: int) -> Iterator[bytes]:
        for number in range(first, 6):
            made.append(number)
            yield bytes([number]) * 1000

    with pytest.raises(KeyboardInterrupt), FinishedParts(path, b"k" * 32) as parts:
        for number, _ in completed(parts, 6, make):
            if number == 3:
                raise KeyboardInterrupt
    with parts_path(path).open("ab") as file:
        file.truncate(parts_path(path).stat().st_size - 10)
    with pytest.raises(KeyboardInterrupt), FinishedParts(path, b"k" * 32) as parts:
        assert len(parts) == 3
        assert dict(completed(parts, 6, make)) == {n: bytes([n]) * 1000 for n in range(6)}
        raise KeyboardInterrupt
    assert made == [0, 1, 2, 3, 3, 4, 5]
    with FinishedParts(path, b"j" * 32) as other:
        assert len(other) == 0
    assert not parts_path(path).exists()


@pytest.fixture
def marked(tmp_path: Path) -> Bank:
    """A bank of the plug-in's full size. The waveforms encode their numbers: a pulse of height 1 at
    sample 10, and one at sample 11 proportional to the number.
    """
    path = tmp_path / "marked.nvbank"
    waveforms = [
        Waveform(
            str(n),
            16_000,
            (0.0, 0.0, 0.0),
            np.array([[0] * 10 + [1.0, (n + 1) / 4000]], np.float32),
        )
        for n in range(2000)
    ]
    write(path, name="marked", waveforms=waveforms, interleaved=10)
    return Bank.open(path)


def _numbers(ir: np.ndarray) -> list[int]:
    return [round(float(row[11] / row[10]) * 4000) - 1 for row in ir]


def test_stepped_bank_selects_waveforms_like_plugin(marked: Bank) -> None:
    """index = 200 x + 20 y + 2 z; right = left + width, clamped to the bank.

    At every step of the cube and every width.
    """
    maker = RoomMaker(find_source(marked.path), 48_000, 480_000)
    assert maker.ir(defaults()).shape[0] == 2
    stepped = SteppedBank(marked, 16_000)
    for x in range(10):
        for y in range(10):
            for z in range(10):
                for width in range(-4, 5):
                    left = 200 * x + 20 * y + 2 * z
                    assert stepped.pair(x, y, z, width) == (left, min(max(left + width, 0), 1999))
    maker = RoomMaker(find_source(marked.path), 16_000, 480_000)
    values = defaults() | {"x": 3.0, "y": 7.0, "z": 1.0, "width": -2.0}
    assert _numbers(maker.ir(values)) == [742, 740]
    between = values | {"x": 3.4, "y": 6.6, "width": -1.6}
    assert maker.fingerprint(between) == maker.fingerprint(values)
    assert maker.fingerprint(values | {"x": 3.6}) != maker.fingerprint(values)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--faithful"], "--faithful goes with --model"),
        (["--scheduler", "x"], "--scheduler goes with --model"),
        (["--model", "NONE"], "No such file"),
        (["--model", "TEXT"], "not an nverb model file"),
        (["--model", "MODEL", "--grid", "65"], "1 to 64"),
        (["--model", "MODEL", "--faithful", "--iterations", "0"], "0 iterations"),
        (["--model", "MODEL", "--grid", "2", "-o", "/nowhere/out.nvbank"], "no such folder"),
    ],
)
def test_command_errors_are_one_line(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "text").write_text("no model" * 100)
    names = {"NONE": tmp_path / "none.nvmodel", "TEXT": tmp_path / "text", "MODEL": model}
    output = [] if "-o" in arguments else ["-o", str(tmp_path / "out")]
    assert (
        main(["bank", "build", *(str(names.get(word, word)) for word in arguments), *output]) == 1
    )
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_open_rejects_incomplete_interleaved_bank(tmp_path: Path) -> None:
    waveforms = [Waveform("one", 16_000, (0.0, 0.0, 0.0), np.ones((1, 20), np.float32))] * 15
    write(tmp_path / "bad.nvbank", name="bad", waveforms=waveforms, interleaved=2)
    with pytest.raises(BankError, match="plug-in's grid"):
        Bank.open(tmp_path / "bad.nvbank")
    waveforms = [
        Waveform("one", 16_000, (0.0, 0.0, 0.0), np.full((1, 20), np.inf, np.float32))
    ] * 16
    write(tmp_path / "inf.nvbank", name="inf", waveforms=waveforms, interleaved=2)
    with pytest.raises(BankError, match="not finite"):
        SteppedBank(Bank.open(tmp_path / "inf.nvbank"), 48_000).ir(0, 0, 0, 0, True)


def _limited(size: int, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run `nverb` with a file size limit of `size` bytes, which fails like a full disk."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return subprocess.run(
        [sys.executable, "-m", "firmware_py.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},  # a truncated .pyc breaks the next run
        preexec_fn=limit,
    )


@pytest.mark.parametrize("size", [0, 100, 40_000, 66_000])
def test_failed_write_keeps_old_bank_and_no_other_file(
    model: Path, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "rooms.nvbank"
    assert main(["bank", "build", "--grid", "1", "-o", str(path)]) == 0
    old = path.read_bytes()
    done = _limited(size, ["bank", "build", "--model", str(model), "--grid", "2", "-o", str(path)])
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"nverb bank build: {path}: File too large"
    assert path.read_bytes() == old and Bank.open(path).name == "rooms"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_full_disk_is_reported_before_the_build(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", tmp_path],
        capture_output=True,
        check=False,
    ).returncode:
        pytest.skip("may not mount here")
    try:
        path = tmp_path / "rooms.nvbank"
        assert main(["bank", "build", "--grid", "2", "-o", str(path)]) == 0
        old = path.read_bytes()
        capsys.readouterr()
        for more in ([], ["--model", str(model)], ["--model", str(model), "--faithful"]):
            assert main(["bank", "build", *more, "--grid", "6", "-o", str(path)]) == 1
            error = capsys.readouterr().err
            assert re.fullmatch(
                rf"nverb bank build: {path}: needs \d+ MB and 0 MB are free: .*\n", error
            ), error
        assert path.read_bytes() == old and [one.name for one in tmp_path.iterdir()] == [path.name]
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_interrupted_build_ends_at_once_and_leaves_no_file(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rooms.nvbank"
    build = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "firmware_py.cli",
            "bank",
            "build",
            "--model",
            str(model),
            "--grid",
            "40",
            "-o",
            str(path),
        ],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert build.stderr is not None
    assert "1 of 64000" in build.stderr.readline()
    os.killpg(build.pid, signal.SIGINT)
    assert "Traceback" not in build.communicate(timeout=HANG_S)[1]
    assert build.returncode == -signal.SIGINT and not list(tmp_path.iterdir())
