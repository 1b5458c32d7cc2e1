"""`make test-clean`: the README's two commands in minimal roots of Debian, empty environment.

    sudo python3 tests/board/clean.py [--suite bookworm]     # exit status 1 if a step fails

Needs root and mmdebstrap. The roots contain PACKAGES and the certificates that this machine trusts;
they are kept in the cache folder. Changes go to an overlay, which is deleted at the end. HEAD is
cloned, so changes that are not committed are not tested.

| as              | in                           | steps                                 |
|-----------------|------------------------------|---------------------------------------|
| root            | /root/nverb                  | make run, make test                   |
| user with sudo  | a path with space and umlaut | make run, and again without a network |
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cache
import debian
from cache import REPOSITORY, Trouble
from debian import Platform, layered

SUITES = ("bookworm", "trixie")
PACKAGES = ["python3", "make", "git", "ca-certificates", "sudo"]
CERTIFICATES = Path("/usr/local/share/ca-certificates")
USER, USER_FOLDER = "player", "/home/player/Füße und Hände"
VENV_BAR_MB = 700
STEP_LIMIT_S = 3600

# The root has its own processes, /dev, /tmp and host name, and no sound card.
ENTER = r"""
R=$1; BUNDLE=$2; shift 2
hostname clean
mount -t proc proc "$R/proc"
[ ! -d "$R/proc/asound" ] || mount -t tmpfs tmpfs "$R/proc/asound"
mount --rbind /sys "$R/sys"; mount --make-rslave "$R/sys"
mount -t tmpfs -o mode=755 dev "$R/dev"
for n in null zero full random urandom tty; do
  : > "$R/dev/$n"; mount --bind "/dev/$n" "$R/dev/$n"
done
mkdir "$R/dev/shm" "$R/dev/pts"
mount -t tmpfs -o mode=1777 shm "$R/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$R/dev/pts"; ln -s pts/ptmx "$R/dev/ptmx"
ln -s /proc/self/fd "$R/dev/fd"
ln -s fd/0 "$R/dev/stdin"; ln -s fd/1 "$R/dev/stdout"; ln -s fd/2 "$R/dev/stderr"
mount -t tmpfs -o mode=1777 tmp "$R/tmp"
mount -t tmpfs -o mode=755 run "$R/run"
: > "$R/mnt/nverb.bundle"; mount --bind "$BUNDLE" "$R/mnt/nverb.bundle"
exec chroot "$R" "$@"
"""
LOOPBACK_UP = (  # SIOCSIFFLAGS: IFF_UP
    "import fcntl, os, socket, struct, sys\n"
    "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sH14x', b'lo', 1))\n"
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


def root(platform: Platform) -> Path:
    """The minimal root, with this machine's name servers and trusted certificates."""
    certificates = sorted(CERTIFICATES.glob("**/*.crt"))

    def make(target: Path) -> None:
        system = target / "root"
        system.mkdir()
        debian.bootstrap(platform, system, PACKAGES)
        for path in certificates:
            shutil.copy(path, system / CERTIFICATES.relative_to("/"))
        (system / "etc/resolv.conf").unlink(missing_ok=True)
        shutil.copy("/etc/resolv.conf", system / "etc/resolv.conf")
        (system / "etc/hosts").write_text("127.0.0.1 localhost clean\n::1 localhost\n")
        (system / "etc/sudoers.d/player").write_text(f"{USER} ALL=(ALL) NOPASSWD: ALL\n")
        script = f"update-ca-certificates; useradd -m -s /bin/bash {USER}"
        debian.chroot(platform, system, script, what="preparing the clean root")

    parts = [PACKAGES, *certificates, USER, Path("/etc/resolv.conf")]
    return cache.made(f"clean-{platform.name}", parts, make) / "root"


class Machine:
    """A clean machine. `run` runs a script as root or as the user."""

    def __init__(self, system: Path, bundle: Path) -> None:
        self._system, self._bundle = system, bundle

    def run(self, script: str, log: Path, *, user: str = "root", online: bool = True) -> int:
        home = "/root" if user == "root" else f"/home/{user}"
        inside = [
            "env",
            "-i",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            f"HOME={home}",
        ]
        inside += [
            "LANG=C.UTF-8",
            "runuser",
            "-u",
            user,
            "--",
            "sh",
            "-euc",
            f'cd "$HOME"; {script}',
        ]
        words = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        words += [] if online else ["--net", sys.executable, "-c", LOOPBACK_UP]
        words += [
            "sh",
            "-euc",
            ENTER,
            "sh",
            os.fspath(self._system),
            os.fspath(self._bundle),
            *inside,
        ]
        with open(log, "wb") as file:
            try:
                done = subprocess.run(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    check=False,
                    timeout=STEP_LIMIT_S,
                )
            except subprocess.TimeoutExpired:
                return 124
        return done.returncode


@contextmanager
def machine(platform: Platform) -> Iterator[Machine]:
    """A new machine, with HEAD as /mnt/nverb.bundle."""
    base = root(platform)
    with tempfile.TemporaryDirectory(dir=cache.folder()) as scratch:
        bundle, upper = Path(scratch, "nverb.bundle"), Path(scratch, "upper")
        upper.mkdir()
        git = ["git", "-c", f"safe.directory={REPOSITORY}", "-C", REPOSITORY]
        cache.run([*git, "bundle", "create", bundle, "HEAD"], what="git bundle")
        bundle.chmod(0o644)
        with layered(base, upper=upper) as system:
            yield Machine(system, bundle)


class Table:
    def __init__(self, logs: Path) -> None:
        self._logs, self._rows, self.ok = logs, [], True

    def step(
        self,
        suite: str,
        machine: Machine,
        what: str,
        script: str,
        *,
        user: str = "root",
        online: bool = True,
    ) -> None:
        """Run a step, unless one before it failed, and add its row."""
        if not self.ok:
            return
        log = self._logs / f"{suite}-{user}-{what.replace(' ', '-')}.log"
        cache.say(f"{suite}, {user}: {what}")
        begun = time.monotonic()
        status = machine.run(script, log, user=user, online=online)
        seconds = time.monotonic() - begun
        lines = log.read_text(errors="replace").splitlines()
        said = next(
            (line for line in reversed(lines) if " passed" in line), "plays the demo"
        ).strip("= ")
        if venv := re.fullmatch(r"(\d+)\t\.venv", lines[-1] if lines else ""):
            said += f"; .venv {venv[1]} MB"
            status = status or int(venv[1]) > VENV_BAR_MB
        if status:
            self.ok = False
            print("\n".join(lines[-40:]), file=sys.stderr)
            said = f"exit status {status}; complete output: {log}"
        result = "ok  " if not status else "FAIL"
        self._rows.append(f"{result}  {suite:9} {user:7} {what:18} {seconds:5.0f} s   {said}")

    def __str__(self) -> str:
        return "\n".join(self._rows)


CLONE = "git clone -q /mnt/nverb.bundle nverb && cd nverb"
PLAYED = "test -s out/demo.wav && test -s out/demo.png && rm -r out"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--suite", choices=SUITES, action="append", help="this release only (default: all)"
    )
    wanted = parser.parse_args().suite or SUITES
    if os.geteuid() != 0:
        raise SystemExit("clean: needs root, to enter roots of Debian: sudo make test-clean")
    logs = cache.folder() / "clean-logs"
    logs.mkdir(exist_ok=True)
    table = Table(logs)
    try:
        for suite in wanted:
            platform = Platform(debian.own_arch(), suite)
            with machine(platform) as clean:
                table.step(suite, clean, "make run", f"{CLONE}; make run; {PLAYED}")
                table.step(suite, clean, "make test", "cd nverb; make test; du -sm .venv")
            with machine(platform) as clean:
                into = f'mkdir -p "{USER_FOLDER}"; cd "{USER_FOLDER}"'
                table.step(
                    suite, clean, "make run", f"{into}; {CLONE}; make run; {PLAYED}", user=USER
                )
                again = f'cd "{USER_FOLDER}/nverb"; make run; {PLAYED}'
                table.step(suite, clean, "make run, offline", again, user=USER, online=False)
    except Trouble as trouble:
        raise SystemExit(f"clean: {trouble}") from None
    finally:
        print(table)
    raise SystemExit(0 if table.ok else 1)


if __name__ == "__main__":
    main()
