"""An emulated board: qemu with Debian's kernel, systemd, ALSA, SPI, GPIO, and power cuts.

The clock of a guest counts instructions (qemu's -icount): each takes 1 ns, and spin.c ensures that
there is always one to run. So the board executes 10^9 instructions a second, about half of one core
of a Raspberry Pi 4. Dropouts, deadlines, watchdogs and recovery times do not depend on the load of
this machine. Scenarios report seconds of the guest's clock.
"""

from __future__ import annotations

import atexit
import json
import os
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cache
import debian
import images
from cache import Trouble
from debian import Platform

ICOUNT_SHIFT = 0
"""An instruction takes 2^shift ns."""
PATIENCE_S = 1800.0
"""Of this machine's clock, for each answer of a guest: only a guest that hangs takes so long. On a
busy machine a second of the guest may take ten of these."""


_running: set[subprocess.Popen[bytes]] = set()


@atexit.register
def _leave_none_behind() -> None:
    """End the emulators of a run that is stopped (Ctrl-C, SIGTERM)."""
    for qemu in list(_running):
        qemu.kill()


class GuestError(AssertionError):
    """A guest did not do what the test requires."""


@dataclass
class Answer:
    status: int
    out: str
    err: str


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Guest:
    """One board. Use it as a context manager, which ends the emulator.

    `disk`: a disk that remains after the guest; default: a temporary overlay of images.disk().
    """

    def __init__(
        self,
        platform: Platform,
        *,
        name: str,
        disk: Path | None = None,
        base: Path | None = None,
        memory_mib: int = 512,
        processors: int = 1,
        words: str = "",
        writable_root: bool = False,
        disk_format: str = "qcow2",
    ) -> None:
        self.platform, self.name = platform, name
        self._scratch = tempfile.TemporaryDirectory(prefix="nverb-", dir="/var/tmp")
        self.folder = Path(self._scratch.name)
        self.memory_mib, self.processors = memory_mib, processors
        self._format = disk_format
        self.disk = disk or overlay(self.folder / "disk.qcow2", base or images.disk(platform))
        self._kernel = debian.kernel(platform)
        self._key = images.key()
        mode = "rw" if writable_root else "ro overlay"
        console = {"amd64": "ttyS0", "arm64": "ttyAMA0"}[platform.arch]
        self._append = (
            f"root=/dev/vda1 {mode} console={console} quiet mitigations=off "
            f"systemd.show_status=0 fsck.repair=yes panic=-1 {words}"
        )
        self.console = self.folder / "console.log"
        self._monitor = self.folder / "monitor"
        self.port = 0
        self._qemu: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut_power()
        self._scratch.cleanup()

    # ---- power ----

    def start(self, *, load: str = "", memory: Path | None = None) -> None:
        """Switch the power on.

        `load`: start from this snapshot in the disk; `memory`: start from a file of `save_memory`,
        with the current disk.
        """
        assert self._qemu is None
        self.port = _free_port()
        machine = {
            "amd64": ["qemu-system-x86_64", "-M", "q35", "-cpu", "Nehalem"],
            "arm64": ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72"],
        }[self.platform.arch]
        command = [
            *machine,
            *("-accel", "tcg,tb-size=256", "-icount", f"shift={ICOUNT_SHIFT},align=off,sleep=on"),
            *("-smp", str(self.processors), "-m", str(self.memory_mib)),
            *self._boot_words(),
            *("-drive", f"file={self.disk},if=virtio,format={self._format},cache=writeback"),
            *("-device", "virtio-rng-pci"),
            *(
                "-nic",
                f"user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:22",
            ),
            *("-serial", f"file:{self.console}", "-display", "none", "-no-reboot"),
            *("-qmp", f"unix:{self._monitor},server=on,wait=off", "-monitor", "none"),
            *(("-loadvm", load) if load else ()),
            *(("-incoming", f"exec:cat {shlex.quote(os.fspath(memory))}") if memory else ()),
        ]
        with open(self.folder / "qemu.log", "ab") as log:
            self._qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        _running.add(self._qemu)

    def _boot_words(self) -> list[str | Path]:
        return [
            "-kernel",
            self._kernel.image,
            "-initrd",
            self._kernel.initrd,
            "-append",
            self._append,
        ]

    def cut_power(self) -> None:
        """kill -9: what the guest has not written to its disk is lost."""
        if self._qemu is not None:
            self._qemu.send_signal(signal.SIGKILL)
            self._qemu.wait()
            _running.discard(self._qemu)
            self._qemu = None
            for path in self.folder.glob("ssh-*"):
                path.unlink(missing_ok=True)

    def switch_off(self) -> None:
        """An orderly poweroff."""
        self.run("systemctl poweroff --no-block", check=False)
        assert self._qemu is not None
        try:
            self._qemu.wait(120)
        except subprocess.TimeoutExpired:
            raise GuestError(f"{self.name}: poweroff takes more than two minutes") from None
        self.cut_power()

    def forget_connections(self) -> None:
        """Close ssh, so that a snapshot of this machine contains no session."""
        for user in ("root", images.PLAYER):
            subprocess.run(
                [*self.ssh_words(user)[:-1], "-O", "exit", f"{user}@127.0.0.1"],
                capture_output=True,
                check=False,
            )

    def save_memory(self, target: Path) -> None:
        """Save the state of the machine without its disk, and end it.

        A guest that starts from it must get a disk that agrees with the saved state.
        """
        self.forget_connections()
        self.monitor("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.monitor("migrate", uri=f"exec:cat > {shlex.quote(os.fspath(target))}")
        while (status := self.monitor("query-migrate")["status"]) != "completed":
            if status in ("failed", "cancelled"):
                raise GuestError(f"{self.name}: its memory was not saved: {status}")
            time.sleep(0.2)
        self.cut_power()

    def alive(self) -> bool:
        return self._qemu is not None and self._qemu.poll() is None

    def boot(self) -> None:
        """Switch on, and return when ssh answers."""
        self.start()
        self.wait_for_ssh()

    def wait_for_ssh(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self._try("true", timeout_s=120).status != 0:
            if not self.alive():
                raise GuestError(f"{self.name}: the emulator is gone: {self._last_words()}")
            if time.monotonic() > deadline:
                raise GuestError(
                    f"{self.name}: no ssh after {PATIENCE_S:.0f} s: {self._last_words()}"
                )
            time.sleep(0.3)

    def _last_words(self) -> str:
        log = (self.folder / "qemu.log").read_text(errors="replace").splitlines()
        console = (
            self.console.read_text(errors="replace").splitlines() if self.console.exists() else []
        )
        return " / ".join([*log[-2:], *console[-3:]]) or "no output"

    def monitor(self, execute: str, **arguments: Any) -> Any:
        """Send one command of qemu's protocol (QMP); return the result."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(120)
            connection.connect(os.fspath(self._monitor))
            stream = connection.makefile("rw")
            stream.readline()
            result = None
            for request in (
                {"execute": "qmp_capabilities"},
                {"execute": execute, "arguments": arguments},
            ):
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                while True:
                    answer = json.loads(stream.readline())
                    if "error" in answer:
                        raise GuestError(f"{self.name}: {execute}: {answer['error']['desc']}")
                    if "return" in answer:
                        result = answer["return"]
                        break
            return result

    # ---- commands ----

    def _control_path(self) -> Path:
        return self.folder / "ssh"

    def ssh_words(self, user: str = "root") -> list[str]:
        """The ssh command line to the guest, up to the remote command."""
        options = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "ConnectTimeout": "60",
            "ControlMaster": "auto",
            "ControlPath": f"{self._control_path()}-{user}",
            "ControlPersist": "900",
            "Ciphers": "aes128-ctr,aes128-gcm@openssh.com",
            # The default (with sntrup761) takes this processor some tenths of a second.
            "KexAlgorithms": "curve25519-sha256",
            "LogLevel": "ERROR",
        }
        words = ["ssh", "-i", os.fspath(self._key), "-p", str(self.port)]
        words += [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return [*words, f"{user}@127.0.0.1"]

    def _try(
        self, script: str, *, stdin: bytes = b"", user: str = "root", timeout_s: float = PATIENCE_S
    ) -> Answer:
        command = [*self.ssh_words(user), script]
        try:
            done = subprocess.run(
                command, input=stdin, capture_output=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            return Answer(255, "", f"no answer within {timeout_s:.0f} s")
        return Answer(
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )

    def run(
        self,
        script: str,
        *,
        check: bool = True,
        stdin: bytes = b"",
        user: str = "root",
    ) -> str:
        """Run a shell script; return its stdout. `check`: raise GuestError if it fails."""
        answer = self._try(script, stdin=stdin, user=user)
        if check and answer.status != 0:
            words = " / ".join((answer.err or answer.out).strip().splitlines()[-3:])
            raise GuestError(f"{self.name}: {_short(script)}: status {answer.status}: {words}")
        return answer.out

    def fails(self, script: str, *, stdin: bytes = b"", user: str = "root") -> str:
        """Run a script that must fail with one line and no traceback; return that line."""
        answer = self._try(script, stdin=stdin, user=user)
        lines = answer.err.strip().splitlines()
        if answer.status in (0, 255):
            raise GuestError(
                f"{self.name}: {_short(script)}: must be refused, but was not "
                f"(status {answer.status})"
            )
        if not lines or any("Traceback" in line for line in lines):
            raise GuestError(
                f"{self.name}: {_short(script)}: refused without a clear line: "
                + " / ".join(lines[-3:])
            )
        return lines[-1]

    def wait(self, script: str, *, timeout_s: float, what: str) -> float:
        """Wait until the script succeeds; return the seconds. All seconds are the guest's."""
        loop = (
            f"t0=$(cut -d' ' -f1 /proc/uptime); until ( {script} ) >/dev/null 2>&1; do sleep 0.05; "
            "t=$(cut -d' ' -f1 /proc/uptime); "
            f"[ $(echo $t $t0 | awk '{{print ($1-$2 > {timeout_s})}}') = 0 ] || exit 99; done; "
            "echo $(cut -d' ' -f1 /proc/uptime) $t0 | awk '{print $1-$2}'"
        )
        answer = self._try(loop, timeout_s=40 * timeout_s + PATIENCE_S)
        if answer.status != 0:
            raise GuestError(
                f"{self.name}: {what}: not within {timeout_s:g} s ({answer.err.strip()[-200:]})"
            )
        return float(answer.out)

    def put(self, data: bytes | Path, path: str, *, user: str = "root") -> None:
        content = data.read_bytes() if isinstance(data, Path) else data
        self.run(f"cat > {shlex.quote(path)}", stdin=content, user=user)

    def get(self, path: str) -> bytes:
        command = [*self.ssh_words(), f"cat {shlex.quote(path)}"]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=PATIENCE_S
        ).stdout

    def uptime_s(self) -> float:
        return float(self.run("cut -d' ' -f1 /proc/uptime"))

    # ---- the simulated board ----

    def turn(self, **codes: int) -> None:
        """Turn the pots gain, x, y, z or width to codes 0 to 1023, in 0.4 s as a hand does.

        A jump to the end would be taken for a torn wire.
        """
        order = ("gain", "x", "y", "z", "width")
        pots = "/sys/module/pedal_sim/parameters/pots"
        begin = [int(code) for code in self.run(f"cat {pots}").split(",")]
        end = [codes.get(name, begin[place]) for place, name in enumerate(order)] + begin[
            len(order) :
        ]
        steps = 40
        way = [
            ",".join(str(a + (b - a) * step // steps) for a, b in zip(begin, end, strict=True))
            for step in range(1, steps + 1)
        ]
        self.run(f"for p in {' '.join(way)}; do echo $p > {pots}; sleep 0.01; done")

    def press(self, line: int, *, seconds: float = 0.1) -> None:
        """Press and release a footswitch, which bounces."""
        pull = "/sys/module/pedal_sim/parameters/pull"
        self.run(
            f"for l in 0 1 0; do echo {line} $l > {pull}; done; sleep {seconds}; "
            f"for l in 1 0 1; do echo {line} $l > {pull}; done"
        )

    def lit(self, line: int) -> bool:
        return self.run("cat /sys/module/pedal_sim/parameters/levels")[line] == "1"

    # ---- the pedal ----

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.run("nverb status --json"))
        return answer

    def wait_for_sound(self, *, timeout_s: float = 90) -> float:
        """Wait until the audio process plays a room; return the guest's uptime."""
        probe = (
            'nverb status --json | python3 -c \'import json,sys; a=json.load(sys.stdin)["audio"]; '
            'sys.exit(not (a and a["alive"]))\''
        )
        self.wait(probe, timeout_s=timeout_s, what="the pedal plays")
        return self.uptime_s()


def _short(script: str) -> str:
    line = " ".join(script.split())
    return line if len(line) < 80 else line[:77] + "..."


def overlay(path: Path, base: Path) -> Path:
    """Create a disk that begins as `base` and keeps its own changes."""
    words = [
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        base,
        "-F",
        "raw" if base.suffix == ".img" else "qcow2",
        path,
    ]
    cache.run(words, what="qemu-img create")
    return path


def copy(disk: Path, target: Path) -> Path:
    """Copy a qcow2 file with its snapshots."""
    cache.run(["cp", "--sparse=always", "--reflink=auto", disk, target], what="copying a disk")
    return target


def require_emulators() -> None:
    import shutil

    for tool in (
        "qemu-system-x86_64",
        "qemu-system-aarch64",
        "qemu-img",
        "mmdebstrap",
        "mke2fs",
        "sfdisk",
        "cpio",
    ):
        if shutil.which(tool) is None:
            raise Trouble(f"{tool} is missing: make acceptance installs it")
