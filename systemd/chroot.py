"""Runs programs of a system in its folder by chroot, and writes its files. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dsp.errors import UserError
from systemd.in_root import InRoot

_CHROOT = r"""
R=$1
for d in proc dev sys tmp run; do mkdir -p "$R/$d"; done
for d in proc dev sys; do mount --rbind /$d "$R/$d"; done
mount -t tmpfs -o mode=1777 tmpfs "$R/tmp"
mount -t tmpfs -o mode=755 tmpfs "$R/run"
mkdir -m 1777 "$R/run/lock"
mkdir "$R/tmp/wheels"; mount --bind "$2" "$R/tmp/wheels"
[ ! -d "$R/boot/firmware" ] || mount --bind "$R/boot/firmware" "$R/boot/firmware"
t=$(chroot "$R" readlink -m /etc/resolv.conf)
if [ -e /etc/resolv.conf ]; then
  mkdir -p "$(dirname "$R$t")"; [ -e "$R$t" ] || : > "$R$t"
  mount --bind /etc/resolv.conf "$R$t"
fi
cd /
exec chroot "$R" /bin/sh -euc "$3"
"""


class Chroot:
    """A system in the folder `root`. Its programs see the folder `wheels` as /tmp/wheels."""

    def __init__(self, root: Path, wheels: Path, verbose: bool) -> None:
        self.root, self._wheels, self._verbose = root, wheels, verbose
        self.files = InRoot(root)

    def run(self, script: str, *, what: str, **environment: str) -> str:
        """Run a shell script in the system. Returns its output. Raises UserError."""
        clean = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "HOME": "/root",
            "DEBIAN_FRONTEND": "noninteractive",
        }
        kept = {
            name: os.environ[name]
            for name in ("http_proxy", "https_proxy", "no_proxy", "QEMU_CPU")
            if name in os.environ
        }
        words: list[str | Path] = [
            "unshare",
            "--mount",
            "sh",
            "-euc",
            _CHROOT,
            "sh",
            self.root,
            self._wheels.absolute(),
            script,
        ]
        with self._no_services():
            return tool(*words, what=what, env=clean | kept | environment, show=self._verbose)

    @contextmanager
    def _no_services(self) -> Iterator[None]:
        """Keep services from starting while packages are installed (Debian policy, policy-rc.d)."""
        name = "usr/sbin/policy-rc.d"
        if self.files.exists(name):
            yield
            return
        self.place(name, "#!/bin/sh\nexit 101\n", mode=0o755)
        try:
            yield
        finally:
            self.files.remove(name)

    def place(self, name: str, text: str, *, mode: int = 0o644) -> None:
        """Write a text file of the system."""
        self.files.write(name, text.encode(), mode=mode)


def tool(
    *words: str | Path, what: str, env: dict[str, str] | None = None, show: bool = False
) -> str:
    done = subprocess.run(
        [os.fspath(word) for word in words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=env,
        check=False,
    )
    if show and done.stdout:
        print(done.stdout, end="", flush=True)
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        why = next(
            (line for line in reversed(lines) if line.startswith(("E:", "ERROR", "nverb"))),
            lines[-1] if lines else "",
        )
        if "Exec format error" in done.stdout:
            why = (
                "this machine cannot run the board's programs: "
                "sudo apt-get install qemu-user-static"
            )
        hint = "" if show else " (--verbose shows the output)"
        raise UserError(f"{what}: {why or f'status {done.returncode}'}{hint}")
    return done.stdout
