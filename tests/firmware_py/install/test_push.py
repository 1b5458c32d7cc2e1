"""Pushing over a real OpenSSH server to boards on this machine, each with its own folders."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sshd_board import NVERB, SshdBoard, board
from waiting import HANG_S

from bank.build import build
from dsp.errors import UserError
from firmware_py.base.progress import Report
from firmware_py.install.desk_end import Content
from firmware_py.install.inventory import Ssh, boards
from firmware_py.install.push import push
from firmware_py.state.store import Store
from models.generator import room_at


@pytest.fixture(scope="module")
def rack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[SshdBoard]]:
    folder = tmp_path_factory.mktemp("rack")
    with ExitStack() as stack:
        yield [stack.enter_context(board(folder / name)) for name in ("left", "right")]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Banks a (0.5 MB) and b, and key pairs of two signers."""
    folder = tmp_path_factory.mktemp("files")
    build(folder / "a.nvbank", room_at, steps=4, name="a")
    build(folder / "b.nvbank", lambda x, y, z: room_at(-x, y, z), steps=2, name="b")
    for key in ("anna", "eve"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", folder / key],
            check=True,
        )
    return folder


@pytest.fixture
def one(rack: list[SshdBoard]) -> SshdBoard:
    shutil.rmtree(rack[0].data)
    rack[0].data.mkdir()
    return rack[0]


def nverb(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "firmware_py.cli", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_S,
    )


def playing(at: SshdBoard) -> str:
    slot = Store(at.data).current().playing
    return slot.name if slot else ""


def test_push_plays_and_second_push_sends_nothing(one: SshdBoard, files: Path) -> None:
    done = nverb("push", *one.options, "localhost", "bank", files / "a.nvbank")
    assert done.returncode == 0, done.stderr
    assert "ok" in done.stdout and "a@" in done.stdout
    assert playing(one) == "a"
    assert Store(one.data).current().playing.path.read_bytes() == (files / "a.nvbank").read_bytes()
    sent = Sent()
    assert push_to(one, files / "a.nvbank", sent).ok
    assert sent.bytes == 0
    rolled = one.ssh(f"{NVERB} rollback bank")
    assert rolled.returncode == 0, rolled.stderr
    assert playing(one) == ""


CUT = f"""{sys.executable} -c 'import os
left = 300000
while left and (part := os.read(0, min(left, 8192))):
    os.write(1, part); left -= len(part)
'"""
"""Passes the first 300 000 bytes, without delay."""


class Sent(Report):
    """Counts the chunks that were sent."""

    def __init__(self) -> None:
        self.bytes, self._from = 0, None
        self.notes: list[str] = []

    def progress(self, stage: str, done: int, total: int) -> None:
        if stage == "sending":
            self.bytes += 1
            self._from = done if self._from is None else self._from

    @property
    def first(self) -> int:
        """The offset after the first chunk that was sent."""
        return self._from or 0

    def note(self, text: str) -> None:
        self.notes.append(text)


def push_to(at: SshdBoard, file: Path, report: Report, command: str = NVERB) -> object:
    given = Ssh(at.port, None, str(at.client_config), (), command)
    descriptor = os.open(file, os.O_RDONLY)
    try:
        content = Content.of(descriptor, lambda *_: None)
        request = {
            "do": "install",
            "name": file.name,
            "kind": "bank",
            "size": content.size,
            "sha256": content.sha256,
            "signature": "",
        }
        return push(boards("localhost", None, given), request, content, report)[0]
    finally:
        os.close(descriptor)


def test_push_resumes_after_cut(one: SshdBoard, files: Path) -> None:
    sent = Sent()
    cut = push_to(one, files / "a.nvbank", sent, f"{CUT} | {NVERB}")
    assert not cut.ok and "cut off" in cut.text
    part = next((one.data / "store" / "incoming").iterdir())
    had = part.stat().st_size
    assert 290_000 < had < 300_000
    assert playing(one) == ""
    sent = Sent()
    assert push_to(one, files / "a.nvbank", sent).ok
    assert sent.first > had  # the first chunk starts where the cut push ended
    assert playing(one) == "a"
    assert not list((one.data / "store" / "incoming").iterdir())


def test_push_retries_after_lost_connection(one: SshdBoard, files: Path, tmp_path: Path) -> None:
    flaky = tmp_path / "flaky"
    flaky.write_text(
        f"#!/bin/sh\nif mkdir {tmp_path}/once 2>/dev/null; then "
        f"{CUT} | {NVERB} store | grep --line-buffered -v ok; exit 255\n"
        f"fi\nexec {NVERB} store\n"
    )
    flaky.chmod(0o755)
    sent = Sent()
    outcome = push_to(one, files / "a.nvbank", sent, str(flaky))
    assert outcome.ok, outcome.text
    assert any("trying again" in note for note in sent.notes)
    assert playing(one) == "a"


def test_push_restarts_after_damaged_part(one: SshdBoard, files: Path) -> None:
    content = Content.of(os.open(files / "a.nvbank", os.O_RDONLY), lambda *_: None)
    incoming = one.data / "store" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / f"{content.sha256}.part").write_bytes(
        (files / "a.nvbank").read_bytes()[:64] + bytes(1000)
    )
    os.close(content.file)
    first = push_to(one, files / "a.nvbank", Report())
    assert first.ok or "send it again" in first.text
    assert first.ok or push_to(one, files / "a.nvbank", Report()).ok
    assert playing(one) == "a"


def test_push_to_group_prints_a_line_per_board(
    rack: list[SshdBoard], files: Path, tmp_path: Path
) -> None:
    inventory = tmp_path / "boards.toml"
    rows = "".join(
        f'[board.{name}]\nhost = "localhost"\nport = {port}\ncommand = "{NVERB}"\n'
        f'options = ["HostKeyAlias [localhost]:{port}", '
        f'"UserKnownHostsFile {at.folder}/known_hosts", "IdentityFile {at.folder}/user"]\n'
        for name, at, port in (
            ("left", rack[0], rack[0].port),
            ("right", rack[1], rack[1].port),
            ("dead", rack[1], 1),
        )
    )
    inventory.write_text(
        f'{rows}[group]\nrack = ["left", "right", "dead"]\nwell = ["left", "right"]\n'
    )
    shutil.copy(rack[0].client_config, tmp_path / "ssh_config")
    (tmp_path / "ssh_config").write_text(
        "Host *\n  HostName 127.0.0.1\n  IdentitiesOnly yes\n  LogLevel ERROR\n"
    )
    words = ("push", "-F", tmp_path / "ssh_config", "--inventory", inventory)
    done = nverb(*words, "@rack", "bank", files / "b.nvbank")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["left", "ok"],
        ["right", "ok"],
        ["dead", "FAILED"],
    ], done
    assert "refused" in lines[2]
    assert [playing(at) for at in rack] == ["b", "b"]
    assert nverb(*words, "@well", "bank", files / "a.nvbank").returncode == 0
    unknown = nverb(*words, "@wel", "bank", files / "a.nvbank")
    assert unknown.returncode == 1 and "@well" in unknown.stderr


def test_board_accepts_files_of_allowed_signers_only(one: SshdBoard, files: Path) -> None:
    trust = one.data / "trust"
    trust.mkdir()
    (trust / "allowed_signers").write_text(
        'anna@example.org namespaces="nverb" ' + (files / "anna.pub").read_text()
    )

    def refused(*words: object, says: str) -> None:
        done = nverb("push", *one.options, *words, "localhost", "bank", files / "a.nvbank")
        assert done.returncode == 1 and says in done.stderr and done.stderr.count("\n") == 1, done
        assert playing(one) == ""
        assert not list(one.data.glob("store/slots/*"))

    refused(says="signed files only")
    refused("--sign", files / "eve", says="nobody in")
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", "nverb", "-f", files / "anna", files / "b.nvbank"],
        check=True,
    )
    refused("--signature", files / "b.nvbank.sig", says="does not fit")
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", "mail", "-f", files / "anna", files / "a.nvbank"],
        check=True,
    )
    refused(says="another use")  # a.nvbank.sig is used: signed for another use
    (files / "a.nvbank.sig").unlink()
    done = nverb(
        "push", *one.options, "--sign", files / "anna", "localhost", "bank", files / "a.nvbank"
    )
    assert done.returncode == 0, done.stderr
    assert "signed by anna@example.org" in done.stderr
    assert playing(one) == "a"
    (trust / "allowed_signers").write_text("")  # an empty list rejects everybody
    done = nverb(
        "push", *one.options, "--sign", files / "anna", "localhost", "bank", files / "b.nvbank"
    )
    assert done.returncode == 1 and playing(one) == "a"
    (files / "b.nvbank.sig").unlink()


def test_install_over_plain_scp_and_ssh(one: SshdBoard, files: Path) -> None:
    copied = subprocess.run(
        [
            "scp",
            "-q",
            "-F",
            one.client_config,
            "-P",
            str(one.port),
            files / "a.nvbank",
            f"localhost:{one.folder}/came.nvbank",
        ],
        capture_output=True,
        check=False,
    )
    assert copied.returncode == 0, copied.stderr
    with_all_rooms = f"{sys.executable} -m firmware_py.cli install {one.folder}/came.nvbank"
    assert one.ssh(with_all_rooms).returncode == 0
    assert playing(one) == "came"
    piped = one.ssh(f"{NVERB} install -", (files / "b.nvbank").read_bytes())
    assert piped.returncode == 0, piped.stderr
    assert playing(one) == "b"  # from a pipe: the name in the bank
    rows = json.loads(one.ssh(f"{NVERB} list --json").stdout)
    assert [(row["name"], row["plays"]) for row in rows] == [("b", True), ("came", False)]


def test_push_of_profile_and_presets(one: SshdBoard, tmp_path: Path) -> None:
    from device.profile import PACKAGED
    from firmware_py.state.preset_file import Preset, to_bytes
    from firmware_py.state.presets import Presets

    shutil.copy(PACKAGED / "sim.toml", tmp_path / "mine.toml")
    assert (
        nverb("push", *one.options, "localhost", "profile", tmp_path / "mine.toml").returncode == 0
    )
    assert (one.data / "profiles" / "mine.toml").read_bytes() == (
        PACKAGED / "sim.toml"
    ).read_bytes()
    (tmp_path / "two.json").write_bytes(
        to_bytes([Preset("One", {"mix": 10.0}), Preset("Two", {"mix": 20.0}, "gone@123456789abc")])
    )
    done = nverb("push", *one.options, "localhost", "preset", tmp_path / "two.json")
    assert done.returncode == 0 and "'Two'" in done.stderr, done
    assert Presets(one.data).names() == ["One", "Two"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-oProxyCommand=touch /tmp/owned", "bank"), "host"),
        (("localhost", "model"), "is a bank, not a model"),
    ],
)
def test_push_rejects_invalid_host_or_kind_at_desk(
    one: SshdBoard, files: Path, words: tuple[str, str], says: str
) -> None:
    done = nverb("push", *one.options, "--", *words, files / "a.nvbank")
    assert done.returncode == 1 and says in done.stderr and done.stderr.count("\n") == 1, done


def test_push_reports_missing_nverb_and_unreachable_board(one: SshdBoard, files: Path) -> None:
    done = nverb(
        "push",
        *one.options[:4],
        "--command",
        "/nowhere/nverb",
        "localhost",
        "bank",
        files / "a.nvbank",
    )
    assert done.returncode == 1 and "--command" in done.stderr and done.stderr.count("\n") == 1, (
        done
    )
    done = nverb("push", *one.options[:2], "-p", "1", "localhost", "bank", files / "a.nvbank")
    assert done.returncode == 1 and "refused" in done.stderr and done.stderr.count("\n") == 1, done


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[board.a]\nhots = 'x'\n[group]\ng=['a']", "host"),
        ("[board.a]\nport = 99999\n[group]\ng=['a']", "65535"),
        ("[group]\ng = 'a'", "list"),
        ("[groups]\ng = ['a']", "group"),
        ("[group]\ng = ['-oProxyCommand=x']", "host"),
        ("[group]\ng = []", "empty"),
        ("[group", "boards.toml"),
        ("board = 3", "table"),
    ],
)
def test_inventory_rejects_invalid_file_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "boards.toml").write_text(text)
    with pytest.raises(UserError, match=says):
        boards("@g", tmp_path / "boards.toml", Ssh())
