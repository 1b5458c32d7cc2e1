"""Installs the pedal as a systemd service, and uninstalls it.

Called by `sudo nverb service install`, the last step of `sudo make install`.

The services use the Python that runs this: a virtual environment below PREFIX, one for each
installed version. The symlink `current` names the one in use and is replaced by a rename. So a
failed installation changes nothing, and one command goes back to the previous version:
`sudo /opt/nverb/VERSION/bin/nverb service install`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from dsp.errors import UserError

FILES = {
    "nverb.target": "etc/systemd/system/nverb.target",
    "nverb-jack.service": "etc/systemd/system/nverb-jack.service",
    "nverb-audio.service": "etc/systemd/system/nverb-audio.service",
    "nverb-control.service": "etc/systemd/system/nverb-control.service",
    "nverb-.service.d/common.conf": "etc/systemd/system/nverb-.service.d/common.conf",
    "cpu-governor-nverb.service": "etc/systemd/system/cpu-governor-nverb.service",
    "zram-nverb.service": "etc/systemd/system/zram-nverb.service",
    "run-nverb-shm.mount": "etc/systemd/system/run-nverb-shm.mount",
    "alsa.conf": "etc/nverb/alsa.conf",
    "sysusers.conf": "etc/sysusers.d/nverb.conf",
    "tmpfiles.conf": "etc/tmpfiles.d/nverb.conf",
    "60-nverb.rules": "etc/udev/rules.d/60-nverb.rules",
}
UNITS = [
    "nverb.target",
    "nverb-jack.service",
    "nverb-audio.service",
    "nverb-control.service",
    "cpu-governor-nverb.service",
    "zram-nverb.service",
    "run-nverb-shm.mount",
]
HOME = "/nonexistent"
"""Of the pedal's user: see sysusers.conf."""
PREFIX = Path("opt/nverb")
COMMAND = Path("usr/local/bin/nverb")
SHARE = Path("usr/local/share")
"""For manual pages and the completion of shells."""
SHARED = ("man/man1/nverb.1", "man/man1/nverb-*.1", "*/*/nverb", "*/*/_nverb", "*/*/nverb.fish")
"""The patterns of what is placed there."""
KEPT_VERSIONS = 2
SOURCE = Path(__file__).parent

Say = Callable[[str], None]
MissingTool = Callable[[], tuple[str, str] | None]
"""Returns a program that the pedal needs and this system lacks, with the command that installs it;
None if nothing is missing.
"""


def place_files(root: Path) -> None:
    """Write units, rules and the other FILES below `root`. Raises OSError."""
    for name, target in FILES.items():
        path = root / target
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        shutil.copyfile(SOURCE / name, new)
        new.chmod(0o644)
        os.replace(new, path)


def place_shared(root: Path, files: Mapping[str, str]) -> None:
    """Replace what is in SHARE below `root` by these files. Raises OSError."""
    remove_shared(root)
    for name, text in files.items():
        path = root / SHARE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)


def remove_shared(root: Path) -> None:
    """Remove the files of SHARED, and folders that are empty without them."""
    for pattern in SHARED:
        for path in (root / SHARE).glob(pattern):
            path.unlink()
            with contextlib.suppress(OSError):
                path.parent.rmdir()
                if path.parent.parent.name != "man":
                    path.parent.parent.rmdir()


def install(
    root: Path,
    *,
    start: bool,
    missing_tool: MissingTool,
    prepare: str,
    shared: Mapping[str, str],
    say: Say,
) -> None:
    """Install; start the pedal if `start` is set and systemd runs here.

    `root`: "/", or the tree of an image. `prepare`: a Python program that the pedal's user runs
    once after the installation. `shared`: contents of files by their names below SHARE.

    Raises UserError, OSError.
    """
    if root == Path("/"):
        _require_root()
    environment = Path(sys.prefix)
    if environment.parent != Path("/") / PREFIX:
        raise UserError(
            f"nverb runs from {environment}: "
            f"a service needs it in /{PREFIX}/VERSION, readable by the pedal's user; "
            "`sudo make install` does that, docs/service.md says how without make"
        )
    _require_tools(missing_tool)
    place_files(root)
    _link(root / PREFIX / "current", Path(environment.name))
    (root / COMMAND).parent.mkdir(parents=True, exist_ok=True)
    _link(root / COMMAND, Path("/") / PREFIX / "current/bin/nverb")
    place_shared(root, shared)
    where = [] if root == Path("/") else [f"--root={root}"]
    _run("systemd-sysusers", *where, f"/{FILES['sysusers.conf']}" if where else "nverb.conf")
    _run(
        "systemd-tmpfiles",
        *where,
        "--create",
        f"/{FILES['tmpfiles.conf']}" if where else "nverb.conf",
    )
    _take_home(root)
    _run("systemctl", *where, "enable", *UNITS)
    say("installed: user nverb, nverb.target, /var/lib/nverb")
    if not where:
        _prepare(prepare, say)
        if systemd_runs():
            _run("systemctl", "daemon-reload")
            _run("udevadm", "control", "--reload", needed=False)
            buses = [f"--subsystem-match={bus}" for bus in ("spidev", "i2c-dev", "gpio")]
            _run("udevadm", "trigger", *buses, needed=False)
            if start:
                _run("systemctl", "restart", "--no-block", "nverb.target")
                say("started: `nverb status` shows its state, `nverb doctor` checks the board")
        else:
            say("systemd does not run here: the pedal starts when the system boots")
    _forget_old_versions(root, environment.name, say)


def _require_tools(missing_tool: MissingTool) -> None:
    for tool in ("systemctl", "systemd-sysusers", "systemd-tmpfiles"):
        if shutil.which(tool) is None:
            raise UserError(
                f"{tool} is missing: the service needs systemd (`nverb run` works without)"
            )
    if missing := missing_tool():
        raise UserError(f"{missing[0]} is missing: {missing[1]}")


def _take_home(root: Path) -> None:
    """Take the home of the pedal's user, which older versions set to the state folder."""
    users = (root / "etc/passwd").read_text().splitlines()
    if any(u.split(":")[0] == "nverb" and u.split(":")[5] != HOME for u in users):
        if root == Path("/") and systemd_runs():  # usermod changes no user who has processes
            _run("systemctl", "stop", *UNITS[:4], needed=False)
        _run("usermod", "--root", str(root), "--home", HOME, "nverb", needed=False)


def uninstall(*, purge: bool, say: Say) -> None:
    """Undo install(). The state folder and the user stay unless `purge`. Raises UserError,
    OSError.
    """
    _require_root()
    if systemd_runs():
        _run("systemctl", "disable", "--now", *UNITS, needed=False)
    for unit in UNITS:
        for wants in Path("/etc/systemd/system").glob("*.target.wants"):
            (wants / unit).unlink(missing_ok=True)
    for target in FILES.values():
        path = Path("/") / target
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()  # if it is empty
    shutil.rmtree("/etc/systemd/system/nverb-.service.d", ignore_errors=True)
    shutil.rmtree("/etc/systemd/system/nverb.target.wants", ignore_errors=True)
    if systemd_runs():
        _run("systemctl", "daemon-reload", needed=False)
    if (Path("/") / COMMAND).is_symlink():
        (Path("/") / COMMAND).unlink()
    remove_shared(Path("/"))
    shutil.rmtree("/run/nverb", ignore_errors=True)
    if purge:
        shutil.rmtree("/var/lib/nverb", ignore_errors=True)
        _run("userdel", "nverb", needed=False)
        _run("groupdel", "nverb", needed=False)
        say("removed: the service, its user, and all banks and presets in /var/lib/nverb")
    else:
        say(
            "removed: the service. Banks and presets stay in /var/lib/nverb, with user nverb; "
            "to remove them, too: sudo rm -r /var/lib/nverb ; sudo userdel nverb"
        )
    shutil.rmtree(Path("/") / PREFIX, ignore_errors=True)  # last: this program runs from there


def systemd_runs() -> bool:
    return Path("/run/systemd/system").is_dir()


def _prepare(program: str, say: Say) -> None:
    """Run `program` as the pedal's user, so that the first start does not have to do its work."""
    say("opening the rooms that come with nverb")
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env=os.environ | {"NVERB_DATA_DIR": "/var/lib/nverb", "HOME": HOME},
        user="nverb",
        group="nverb",
        extra_groups=[],
        umask=0o007,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.splitlines() or ["?"])[-1]
        say(f"failed, the log of the first start has details: {last}")


def _forget_old_versions(root: Path, current: str, say: Say) -> None:
    versions = [
        path for path in (root / PREFIX).iterdir() if path.is_dir() and not path.is_symlink()
    ]
    old = sorted(
        (p for p in versions if p.name != current), key=lambda p: p.stat().st_mtime, reverse=True
    )
    for path in old[KEPT_VERSIONS - 1 :]:
        shutil.rmtree(path, ignore_errors=True)
    for path in old[: KEPT_VERSIONS - 1]:
        command = Path("/") / PREFIX / path.name / "bin/nverb"
        say(f"the previous version is kept; to go back: sudo {command} service install")


def _link(path: Path, target: Path) -> None:
    """Create or replace a symlink with a rename."""
    if path.exists() and not path.is_symlink():
        raise UserError(f"{path} is in the way: move it elsewhere")
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    os.replace(new, path)


def _require_root() -> None:
    if os.geteuid() != 0:
        raise UserError("only root may change the system's services: use sudo")


def _run(*words: str, needed: bool = True) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        if needed:
            raise UserError(f"{words[0]} is missing") from None
        return
    if done.returncode and needed:
        raise UserError(
            f"{' '.join(words)}: {' / '.join(done.stderr.split(chr(10)))[:500].strip(' /')}"
        )
