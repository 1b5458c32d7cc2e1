"""docs/upkeep.md: its commands back up, restore, move and update, as they stand on the page.

`ssh` runs its words here, `sudo` as this user; folders of the test take the place of the board's.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
from waiting import HANG_S

from bank.build import build
from device.controls import defaults
from firmware_py.cli import main
from firmware_py.commands.table import build_parser
from firmware_py.state.presets import Presets
from firmware_py.state.store import Store
from models.generator import room_at
from systemd.in_root import InRoot

PAGE = Path(__file__).parents[1] / "docs/upkeep.md"
BOARD, DESK = "/var/lib/nverb", "~/.local/share/nverb"
MODE = 0o2750
"""Of a state folder that root may own; a board's is group-writable, too."""
WORDS = {
    "ssh": 'shift; exec sh -c "$*"',
    "sudo": '[ "$1" = -u ] && shift 3; exec "$@"',
    "systemctl": 'echo "systemctl $*" >> "$HOME/log"',
    "nverb": 'echo "nverb $*" >> "$HOME/log"',
    "make": 'echo "make $*" >> "$HOME/log"',
    "git": 'echo "git $*" >> "$HOME/log"',
}
"""What takes the place of these commands."""


def section(title: str) -> list[str]:
    """The shell blocks of a section."""
    _, _, after = PAGE.read_text().partition(f"\n## {title}\n")
    assert after, f"no section {title}"
    return re.findall(r"^```\n(.*?)^```", after.partition("\n## ")[0], re.DOTALL | re.M)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A home with stand-ins for the commands that need a board."""
    (tmp_path / "bin").mkdir()
    for name, script in WORDS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def run(script: str, desk: Path, data: Path) -> None:
    """Run a block, with `data` as the state folder of the board and of the desk."""
    for folder in (BOARD, DESK):
        script = script.replace(folder, str(data))
    environment = os.environ | {"HOME": str(desk), "PATH": f"{desk}/bin:{os.environ['PATH']}"}
    subprocess.run(
        ["sh", "-euc", script], cwd=desk, env=environment, check=True, timeout=HANG_S
    )  # fmt: skip


def full(folder: Path, monkeypatch: pytest.MonkeyPatch, bank: Path) -> Path:
    """A state folder as a used pedal has it."""
    folder.mkdir()
    folder.chmod(MODE)
    monkeypatch.setenv("NVERB_DATA_DIR", str(folder))
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(folder))
    assert main(["settings", "set", "profile=sim", "block_frames=256"]) == 0
    assert main(["install", str(bank)]) == 0
    Presets(folder).save("Mine", defaults() | {"mix": 12.0}, Store(folder).slots()[0].reference)
    assert main(["preset", "startup", "Mine"]) == 0
    assert main(["board", "copy", "sim", "own"]) == 0
    (folder / "settings.toml").chmod(0o664)  # as on a board, where members of the group write
    return folder


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and content of all that is in a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        data = os.readlink(path).encode() if path.is_symlink() else b""
        data = path.read_bytes() if stat.S_ISREG(mode) else data
        found[path.relative_to(folder).as_posix()] = (0 if path.is_symlink() else mode, data)
    return found


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    build(tmp_path / "halls.nvbank", room_at, steps=2, name="halls")
    return tmp_path / "halls.nvbank"


def test_a_backup_of_a_board_restores_all_of_it_on_another_card(
    desk: Path, bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = full(desk / "old", monkeypatch, bank), desk / "new"
    new.mkdir()
    new.chmod(MODE)
    run(section("Backup")[0], desk, old)
    run(section("Restore, or move to another card")[0], desk, new)
    assert files(new) == files(old)
    assert stat.S_IMODE(new.stat().st_mode) == MODE
    startup = Presets(new).startup
    assert startup is not None and startup.values["mix"] == 12
    slot = Store(new).current().playing
    assert slot is not None and slot.reference == startup.bank
    slot.verify()
    log = (desk / "log").read_text().splitlines()
    assert log == ["systemctl stop nverb.target", "systemctl start nverb.target", "nverb doctor"]


def test_a_backup_of_a_desk_has_every_file(
    desk: Path, bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, again = full(desk / "old", monkeypatch, bank), desk / "again"
    run(section("Backup")[1], desk, old)
    again.mkdir()
    subprocess.run(["tar", "-C", again, "-xzpf", desk / "desk.tgz"], check=True, timeout=HANG_S)
    assert files(again) == files(old)


def test_a_cut_backup_is_noticed(desk: Path, bank: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = full(desk / "old", monkeypatch, bank)
    backup, check = section("Backup")[0].splitlines()
    run(backup, desk, old)
    run(check, desk, old)
    archive = (desk / "pedal.tgz").read_bytes()
    (desk / "pedal.tgz").write_bytes(archive[: len(archive) // 2])
    with pytest.raises(subprocess.CalledProcessError):
        run(check, desk, old)


def test_presets_move_by_export_and_install(
    desk: Path, bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full(desk / "old", monkeypatch, bank)
    export, push = section("Restore, or move to another card")[1].splitlines()
    monkeypatch.chdir(desk)
    assert main(shlex.split(export)[1:]) == 0
    words = build_parser().parse_args(shlex.split(push)[1:])
    assert words.kind == "preset"
    monkeypatch.setenv("NVERB_DATA_DIR", str(desk / "other"))
    (desk / "other").mkdir()
    assert main(["install", "presets.json"]) == 0
    assert Presets(desk / "other").names() == ["Mine"]


def test_update_and_the_way_back_are_the_commands_of_the_installer(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make acceptance-service` installs over an installation and goes back."""
    update, back = section("Update, and go back")
    run(update, desk, desk)
    assert (desk / "log").read_text().splitlines() == ["git pull", "make install", "nverb doctor"]
    [words] = [shlex.split(line) for line in back.splitlines() if line.startswith("sudo")]
    assert words[1] == "/opt/nverb/VERSION/bin/nverb"
    build_parser().parse_args(words[2:])
    installer = (PAGE.parents[1] / "systemd/install.py").read_text()
    assert 'go back: sudo {command} service install"' in installer


def test_wifi_files_come_into_an_image_with_their_modes(desk: Path) -> None:
    [block] = section("Wi-Fi on an image")
    run(block, desk, desk)
    system = desk / "system"
    (system / "etc").mkdir(parents=True)
    InRoot(system).copy_tree(desk / "wifi")
    [connection] = (system / "etc/NetworkManager/system-connections").iterdir()
    assert stat.S_IMODE(connection.stat().st_mode) == 0o600  # else NetworkManager ignores it
    assert "psk=ITS PASSWORD" in connection.read_text()
    wanted = system / "etc/systemd/system/multi-user.target.wants/wifi-on.service"
    assert "rfkill unblock wifi" in wanted.read_text()  # through the symlink
