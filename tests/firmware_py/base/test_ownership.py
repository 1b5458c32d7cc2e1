"""Root writes nothing where others may: it becomes the folder's owner first, or refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from other_users import can_run_this
from waiting import HANG_S

from models.files import write_atomically

ROOT = Path(__file__).parents[3]
OWNER, GROUP = 12345, 12346

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files to others")


@pytest.fixture
def state() -> Iterator[Path]:
    """A data folder as the service's, with a link at each name that a command writes to.

    Each leads to a file or a folder that only root may change.
    """
    place = Path(tempfile.mkdtemp(prefix="nverb-owner-", dir="/var/tmp"))
    place.chmod(0o755)
    data, victim = place / "data", place / "victim"
    data.mkdir()
    victim.mkdir()
    for name in ("settings", "presets", "calibration", "lock"):
        (victim / name).write_text("precious")
        (victim / name).chmod(0o600)
    (data / "settings.toml").symlink_to(victim / "settings")
    (data / "presets.json").symlink_to(victim / "presets")
    (data / "calibration.json").symlink_to(victim / "calibration")
    (data / ".presets.lock").symlink_to(victim / "new-lock")
    for name in ("profiles", "mixers", "banks", "models", "store"):
        (data / name).symlink_to(victim)
    os.chown(data, OWNER, GROUP)
    data.chmod(0o2770)
    yield data
    shutil.rmtree(place)
    shutil.rmtree(f"/dev/shm/nverb-{OWNER}", ignore_errors=True)


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


COMMANDS = (
    "settings set block_frames=64",
    "settings reset",
    "preset save Hall",
    "preset remove Hall",
    "preset rename Hall Room",
    "preset move Hall 2",
    "preset startup Hall",
    "preset undo",
    "board copy sim mine",
    "board calibrate sim --remove",
    "card save",
    "card remove",
    "use built-in",
    "remove starter",
    "rollback bank",
    "install room.nvbank",
    "bank build -o {data}/models/x.nvbank --grid 2",
    "run --dummy --profile none --bank none.nvbank",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_root_follows_no_link_out_of_the_data_folder(
    state: Path, command: str, tmp_path: Path
) -> None:
    if not can_run_this():
        pytest.skip("the owner of the data folder may not read this checkout")
    victim = state.parent / "victim"
    before = contents(victim)
    (tmp_path / "room.nvbank").write_bytes(b"no bank")
    environment = os.environ | {"NVERB_DATA_DIR": str(state)}
    environment.pop("NVERB_RUNTIME_DIR")
    done = subprocess.run(
        [sys.executable, "-m", "firmware_py.cli", *command.format(data=state).split()],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert contents(victim) == before
    of_root = [path.name for path in state.iterdir() if not path.is_symlink()]
    assert all((state / name).stat().st_uid == OWNER for name in of_root), done.stderr


def test_file_that_root_changes_belongs_to_the_owner_of_the_folder(state: Path) -> None:
    if not can_run_this():
        pytest.skip("the owner of the data folder may not read this checkout")
    (state / "settings.toml").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "firmware_py.cli", "settings", "set", "block_frames=64"],
        env=os.environ | {"NVERB_DATA_DIR": str(state)},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    info = (state / "settings.toml").stat()
    assert (info.st_uid, info.st_gid) == (OWNER, GROUP)


def test_folder_of_root_that_others_write_to_is_refused(state: Path) -> None:
    os.chown(state, 0, GROUP)
    done = subprocess.run(
        [sys.executable, "-m", "firmware_py.cli", "settings", "reset"],
        env=os.environ | {"NVERB_DATA_DIR": str(state)},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 1
    assert "others may write to it: give it to the pedal's user" in done.stderr
    assert (state.parent / "victim/settings").read_text() == "precious"


def test_write_atomically_refuses_root_below_a_shared_folder(state: Path) -> None:
    """For commands that stay root; a folder that is a link is judged by where the link is."""
    for folder in (state, state / "profiles"):
        with pytest.raises(PermissionError, match="run this as the owner"):
            write_atomically(folder / "new", lambda file: file.write(b"x"))
    assert not (state.parent / "victim/new").exists()
    write_atomically(state.parent / "victim/new", lambda file: file.write(b"x"))
