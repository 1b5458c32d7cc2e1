"""Test the service under a systemd that is PID 1: Debian in a container, nverb from a wheel.

    sudo python3 tests/board/container.py       # a transcript; exit status 1 at the first error

Needs root, mmdebstrap and systemd-container (`make acceptance-service` installs them). The
container has neither sound card nor real-time priority: JACK uses its dummy driver. The virtual
machines of acceptance.py have both. Nothing outside the container and the cache folder is changed.

| step      | what must hold                                                                       |
|-----------|--------------------------------------------------------------------------------------|
| install   | make install works from a wheel, without a network, also over an installation        |
| boot      | the pedal plays after boot; prints the times of the start; no unit has failed        |
| access    | members of the group may read and set controls, others may not; no network port      |
| push      | a member of the group installs a bank and a model in the units' sandbox, rolls back; |
|           | signatures are enforced                                                              |
| member    | a member of the group does what the docs say: reads the log, copies a profile and    |
|           | replaces it, removes a bank, takes a preset back; `nverb run` is refused             |
| hostile   | a member of the group plants links and ALSA's configuration, a stranger takes JACK's |
|           | names: root overwrites nothing, the pedal runs no foreign code and plays             |
| removed   | somebody empties /run/nverb and the control process dies: the sound goes on          |
| rights    | owner and mode of each file are as the table in docs/service.md says                 |
| recovery  | nverb bench recovery --service: kill and stop every process                          |
| loop      | a crash loop leads to a safe start, power cuts do not                                |
| settings  | a bad settings file does not stop the sound                                          |
| plug      | read-only system, power cuts while playing and writing: it boots and plays with the  |
|           | saved state; the same without an overlay in memory and with a read-only /tmp         |
| uninstall | removes everything but the state folder, and that, too, when asked later             |
| desk      | after `uninstall`: a user without root runs nverb, stops it, runs it again           |
| upkeep    | the commands of docs/upkeep.md, with ssh and sudo: backup, restore on another card,  |
|           | presets to another pedal, update, go back                                            |
| *_hour    | a first hour of root, a member of the group, a desk user without root: install, play,|
|           | save, push, break, mend, update, uninstall                                           |
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import service_table
from checks import Wrong, expect
from debian import Platform, bootstrap, own_arch
from first_hour import desk_hour, member_hour, root_hour, upkeep

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = (
    "systemd-sysv,dbus,udev,make,python3,python3-venv,jackd2,gcc,libc6-dev,python3-dev,"
    "libsndfile1,alsa-utils,openssh-server,iproute2,procps,sudo,git"
)
SUITE = "bookworm"
BOOT_S = 120


def cache() -> Path:
    path = Path(
        os.environ.get("NVERB_ACCEPTANCE_CACHE") or Path.home() / ".cache" / "nverb-acceptance"
    )
    path.mkdir(parents=True, exist_ok=True)
    return path


def debian() -> Path:
    """A Debian root folder, made once (three minutes) and never changed."""
    target = cache() / f"container-{SUITE}-{hashlib.sha256(PACKAGES.encode()).hexdigest()[:12]}"
    if not target.exists():
        print(f"making {target} (once; takes some minutes)", flush=True)
        new = target.with_suffix(".new")
        remove(new)
        platform = Platform(own_arch(), SUITE)
        bootstrap(platform, new, PACKAGES.split(","))
        new.rename(target)
    return target


def remove(folder: Path) -> None:
    """Delete a folder, but nothing that is mounted in it."""
    subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=False)


def wheels(folder: Path) -> None:
    """Put nverb's wheel and its dependencies, for the container's Python, into `folder`."""
    run(["make", "-s", "-C", str(REPOSITORY), "wheel"])
    newest = max((REPOSITORY / "dist").glob("nverb-*.whl"), key=lambda path: path.stat().st_mtime)
    pip = REPOSITORY / "build/python/bin/pip"
    words = [str(pip), "wheel", "-q", "--disable-pip-version-check", "-w", str(folder)]
    pins = ["-c", str(REPOSITORY / "tests/constraints.txt")]
    run([*words, *pins, f"{newest}[demo]", "setuptools>=68", "wheel"])
    # What a user clones: HEAD, without what is not committed.
    source = f"file://{REPOSITORY}"
    run(["git", "clone", "-q", "--bare", "--depth", "1", source, str(folder / "nverb.git")])


def run(words: list[str], **options: Any) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise Wrong(f"{shlex.join(words)}: {(done.stderr or done.stdout).strip()[-2000:]}")


class Container:
    """A Debian in systemd-nspawn, over a root folder that other runs share."""

    def __init__(self, work: Path, wheel_folder: Path) -> None:
        self.work, self._wheels = work, wheel_folder
        self.root = work / "root"
        for name in ("root", "upper", "overlay", "state"):
            (work / name).mkdir()
        run(
            [
                "mount",
                "-t",
                "overlay",
                "overlay",
                "-o",
                f"lowerdir={debian()},upperdir={work}/upper,workdir={work}/overlay",
                str(self.root),
            ]
        )
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def boot(self, *, read_only: bool = False, overlay: bool = True) -> float:
        """Start it; return the seconds until systemd reports that the system runs.

        `read_only`: changes outside the state folder are lost at the next stop (`overlay`: a file
        system in memory takes them) or fail (without `overlay`).
        """
        self.shut_down()
        begun = time.monotonic()
        words = [
            "systemd-nspawn",
            "-D",
            str(self.root),
            "--boot",
            "--register=no",
            "--keep-unit",
            "--private-network",
        ]
        words += ["--console=read-only", "-M", f"nverb-{os.getpid()}", "--quiet"]
        words += [f"--bind-ro={REPOSITORY}:/src", f"--bind-ro={self._wheels}:/wheels"]
        if read_only:
            words += [
                "--volatile=overlay" if overlay else "--read-only",
                f"--bind={self.work}/state:/var/lib/nverb",
            ]
        log = open(self.work / "console.log", "ab")
        self._nspawn = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while time.monotonic() - begun < BOOT_S:
            if self._nspawn.poll() is not None:
                console = (self.work / "console.log").read_text(errors="replace")
                raise Wrong(f"systemd-nspawn exited: {console[-1500:]}")
            self._leader = self._find_leader()
            if self._leader and self.sh("systemctl is-system-running", check=False).strip() in (
                "running",
                "degraded",
            ):
                return time.monotonic() - begun
            time.sleep(0.1)
        raise Wrong("it did not boot")

    def on_without_pedal(self) -> None:
        """Start it, unless it runs."""
        if self._nspawn is None:
            self.boot()

    def on(self) -> None:
        """Start it, unless it runs, and wait until it plays."""
        self.on_without_pedal()
        self.wait_for_room()

    def _find_leader(self) -> int:
        assert self._nspawn is not None
        try:
            children = (
                Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
                .read_text()
                .split()
            )
            for child in children:
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
        except OSError:
            pass
        return 0

    def sh(
        self, script: str, *, check: bool = True, show: bool = False, timeout_s: float = 300
    ) -> str:
        """Run a script in it as root; return its output. `show`: add it to the transcript."""
        if show:
            print(f"# {script}", flush=True)
        words = [
            "nsenter",
            "-t",
            str(self._leader),
            "-m",
            "-u",
            "-i",
            "-n",
            "-p",
            "-C",
            "-r",
            "-w",
            "--",
            "/usr/bin/env",
            "-i",
        ]
        words += [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "LC_ALL=C.UTF-8",
        ]
        words += ["/bin/sh", "-c", f"{script}"]
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            start_new_session=True,
        )
        text = done.stdout + done.stderr
        if show:
            print("".join(f"  {line}\n" for line in text.splitlines()), end="", flush=True)
        if check and done.returncode:
            raise Wrong(f"{script}: status {done.returncode}: {text.strip()[-2000:]}")
        return text

    def status(self) -> dict[str, Any]:
        done = self.sh("nverb status --json 2>/dev/null", check=False)
        try:
            decoded: dict[str, Any] = json.loads(done)
        except ValueError:
            return {}
        return decoded

    def wait_for_room(self, timeout_s: float = 60) -> dict[str, Any]:
        """Wait until a room plays; return the pedal's status."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            status = self.status()
            audio = status.get("audio")
            if audio and audio["alive"] and audio["playing_serial"] and not audio["fading"]:
                return status
            time.sleep(0.1)
        raise Wrong(
            "the pedal does not play:\n"
            + self.sh("systemctl status 'nverb*' --no-pager -n 15", check=False)
        )

    def shut_down(self) -> None:
        self._end(signal.SIGRTMIN + 4)

    def pull_the_plug(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._nspawn is None:
            return
        if self._leader:
            os.kill(self._leader, number)
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            os.kill(self._leader, signal.SIGKILL)
            self._nspawn.wait(30)
        self._nspawn, self._leader = None, 0

    def close(self) -> None:
        if self._nspawn is not None and self._nspawn.poll() is None:
            if self._leader:
                self.pull_the_plug()
            else:
                self._nspawn.kill()
                self._nspawn.wait()
        subprocess.run(["umount", "-l", str(self.root)], check=False)


def files(box: Container) -> set[str]:
    """All files of the system, except those that change by themselves."""
    found = box.sh(
        "find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/log "
        "-o -path /root -o -path /src -o -path /wheels -o -path /var/lib/systemd \\) "
        "-prune -o -print"
    )
    return set(found.splitlines())


def install(box: Container) -> None:
    print("\n== install: from a wheel, without a network", flush=True)
    box.boot()
    box.sh("useradd -m player; useradd -m stranger")
    before = files(box)
    box.sh("ls /wheels", show=True)
    box.sh(
        "export PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels; "
        "make -s -C /src install WHEEL=$(ls /wheels/nverb-*.whl)",
        show=True,
    )
    box.sh("nverb settings set card=dummy", show=True)
    box.sh("systemctl restart nverb.target")
    box.wait_for_room()
    box.sh("nverb status", show=True)
    box.sh("make -s -C /src install WHEEL=$(ls /wheels/nverb-*.whl)", show=True)
    box.wait_for_room()
    expect(True, "it plays after a second installation")
    (box.work / "before").write_text("\n".join(sorted(before)))
    box.shut_down()


def boot(box: Container) -> None:
    print("\n== boot", flush=True)
    took = box.boot()
    box.wait_for_room()
    print(f"  systemd reported `running` {took:.1f} s after the start of the container")
    box.sh("nverb doctor --boot", show=True, check=False)
    box.sh("systemctl --no-pager list-units 'nverb*' --plain --no-legend", show=True)
    expect(not box.sh("systemctl --failed --no-legend").strip(), "no unit has failed")
    for unit in ("nverb-audio", "nverb-control", "nverb-jack"):
        level = (
            box.sh(f"systemd-analyze security --no-pager {unit} | tail -1")
            .split(": ")[1]
            .split()[0]
        )
        expect(float(level) <= 0.9, f"systemd-analyze security {unit}: {level}")
    critical = box.sh(
        "systemctl show nverb-audio nverb-control nverb-jack nverb.target "
        "-p After -p Wants -p Requires"
    )
    expect("network" not in critical, "no unit of the pedal waits for the network")


def access(box: Container) -> None:
    box.on()
    print("\n== access", flush=True)
    box.sh("usermod -aG nverb player")
    box.sh("runuser -u player -- nverb set x=7 mix=30", show=True)
    output = box.sh("runuser -u stranger -- nverb get x", show=True, check=False)
    expect("denied" in output or "no pedal" in output, "a user outside the group is refused")
    expect("Traceback" not in output, "and gets a message of one line")
    expect(
        not [line for line in box.sh("ss -Hltun").splitlines() if ":22 " not in line],
        "only ssh listens on the network",
    )
    expect(
        box.sh(
            "id -un $(systemctl show -p MainPID --value nverb-audio "
            "| xargs -I{} stat -c %u /proc/{})"
        ).strip()
        == "nverb",
        "the audio process runs as user nverb",
    )


BANKS = """
import sys
from pathlib import Path
from bank.build import build
from models.generator import room_at
folder = Path(sys.argv[1])
build(folder / "halls.nvbank", room_at, steps=2, name="halls")
build(folder / "springs.nvbank", lambda x, y, z: room_at(-x, y, z), steps=2, name="springs")
"""


def push(box: Container) -> None:
    """Install as a member of the group.

    The installer is a child of the control process, whose sandbox must allow it to fork, to limit
    the trial and to run ssh-keygen.
    """
    box.on()
    print("\n== push", flush=True)
    player, python = "runuser -u player -- ", "/opt/nverb/current/bin/python"
    box.sh("usermod -aG nverb player")
    box.sh(f"cd /tmp && {player}{python} -c {shlex.quote(BANKS)} /home/player")
    shipped = f"{python} -c 'from models.decoder import SHIPPED; print(SHIPPED)'"
    box.sh(f"cp $({shipped})/decoder.nvmodel /home/player/")
    before = box.status()

    def plays(name: str) -> bool:
        return str(box.wait_for_room()["room"]["path"]).startswith(name)

    for file in ("halls.nvbank", "springs.nvbank", "decoder.nvmodel"):
        box.sh(f"cd /home/player && {player}nverb install {file}", show=True)
        expect(plays(file.split(".")[0] + "@"), f"{file} plays")
    box.sh(f"{player}nverb rollback model", show=True)
    expect(plays("springs@"), "the previous bank plays again")
    box.sh(f"{player}nverb rollback bank", show=True)
    expect(plays("halls@"), "after a second rollback the bank before that plays")
    box.sh(f"{player}nverb list", show=True)
    slots = box.sh(
        "stat -c '%U %G %a' /var/lib/nverb/store/slots/* /var/lib/nverb/store/slots", show=True
    ).split("\n")
    expect(
        all(line.startswith("nverb nverb ") for line in slots if line),
        "all slots belong to user nverb",
    )
    box.sh(
        "cd /home/player && ssh-keygen -q -t ed25519 -N '' -f key && "
        "install -d -o nverb -g nverb /var/lib/nverb/trust && "
        'echo "anna@example.org namespaces=\\"nverb\\" $(cat key.pub)" '
        "> /var/lib/nverb/trust/allowed_signers && "
        "ssh-keygen -q -Y sign -n nverb -f key springs.nvbank && chown player: springs.nvbank.sig"
    )
    output = box.sh(
        f"cd /home/player && {player}nverb install decoder.nvmodel", check=False, show=True
    )
    expect("not signed" in output, "a model without signature is refused")
    box.sh(
        "cd /home/player && cp springs.nvbank.sig decoder.nvmodel.sig && "
        "chown player: decoder.nvmodel.sig"
    )
    output = box.sh(
        f"cd /home/player && {player}nverb install decoder.nvmodel", check=False, show=True
    )
    expect("does not fit" in output, "a signature of another file is refused")
    expect(plays("halls@"), "the installed bank still plays")
    box.sh(f"cd /home/player && {player}nverb install springs.nvbank", show=True)
    expect(plays("springs@"), "a signed bank plays")
    box.sh("rm -r /var/lib/nverb/trust")
    after = box.status()
    expect(after["audio"]["pid"] == before["audio"]["pid"], "the audio process was not restarted")
    box.sh(f"{player}nverb use built-in")


def member(box: Container) -> None:
    """The commands of the docs, as a user who has joined the group as docs/service.md says."""
    box.on()
    print("\n== member", flush=True)
    join = "sudo usermod -aG nverb,systemd-journal $USER"
    expect(join in (REPOSITORY / "docs/service.md").read_text(), "docs/service.md says how to join")
    player = "cd /home/player && runuser -u player -- "
    refused = box.sh("runuser -u stranger -- nverb logs", check=False)
    expect("systemd-journal" in refused, "a user outside the group is told how to read the log")
    box.sh(join.removeprefix("sudo ").replace("$USER", "player"))
    expect("nverb" in box.sh(f"{player}nverb logs", show=True), "nverb logs shows the log")
    refused = box.sh(f"{player}nverb run --dummy", check=False, show=True)
    expect("systemctl stop nverb.target" in refused, "a second pedal is refused")
    box.sh(f"{player}nverb board copy sim mine", show=True)
    box.sh("cp /var/lib/nverb/profiles/mine.toml /home/player/mine.toml")
    box.sh(f"{player}nverb install mine.toml", show=True)
    box.sh(f"{player}/opt/nverb/current/bin/python -c {shlex.quote(BANKS)} /home/player")
    box.sh(f"{player}nverb install halls.nvbank; {player}nverb use built-in", show=True)
    box.sh(f"{player}nverb remove halls", show=True)
    expect("halls" not in box.sh(f"{player}nverb list"), "a bank is removed after use built-in")
    box.sh(f"{player}nverb preset save Hall; {player}nverb preset remove Hall", show=True)
    expect("Hall is back" in box.sh(f"{player}nverb preset undo"), "a removed preset comes back")
    box.sh(f"{player}nverb set bypass=on")
    box.sh("systemctl restart nverb.target")
    box.wait_for_room()
    expect("off" in box.sh(f"{player}nverb get bypass"), "bypass does not survive a restart")
    expect("restart nverb.target" in box.sh(f"{player}nverb settings set periods=2"), "systemctl")
    box.sh(f"{player}nverb preset remove Hall; rm /var/lib/nverb/profiles/mine.toml")


EVIL = """
#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) static void run(void) {
    char name[100];
    snprintf(name, sizeof name, "/var/lib/nverb/caught-%d", (int)getuid());
    fclose(fopen(name, "w"));
}
"""
ASOUNDRC = """
pcm.evil { type evil }
pcm_type.evil { lib "/var/lib/nverb/evil.so" }
seq.default { type evil }
seq_type.evil { lib "/var/lib/nverb/evil.so" }
"""
LINKS = ("settings.toml", "presets.json", ".presets.lock", "calibration.json", "midi.json")


def hostile(box: Container) -> None:
    box.on()
    print("\n== hostile: a member of the group, and a stranger", flush=True)
    box.sh("usermod -aG nverb player")
    player, state = "runuser -u player -- ", "/var/lib/nverb"
    pid = "systemctl show -p MainPID --value nverb-"
    environment = box.sh(f"tr '\\0' '\\n' < /proc/$({pid}control)/environ").splitlines()
    expect("HOME=/nonexistent" in environment, "the services have no home")
    expect("PYTHONNOUSERSITE=1" in environment, "and no Python packages of a home")
    box.sh(
        f"printf %s {shlex.quote(EVIL)} > /root/evil.c; printf %s {shlex.quote(ASOUNDRC)} > "
        f"{state}/.asoundrc; gcc -shared -fPIC -o {state}/evil.so /root/evil.c; "
        f"mkdir -p {state}/.config/alsa; cp {state}/.asoundrc {state}/.config/alsa/asoundrc"
    )
    box.sh(f"runuser -u nverb -- env HOME={state} aplay -D evil /dev/null", check=False)
    expect(box.sh(f"ls {state}/caught-*; rm {state}/caught-*"), "(the trap works)")
    box.sh("nverb settings set midi=alsa && systemctl restart nverb.target")
    box.wait_for_room()
    home = "$(getent passwd nverb | cut -d: -f6)"
    box.sh(f"runuser -u nverb -- env HOME={home} aplay -D evil /dev/null", check=False)
    time.sleep(3)  # the process of the MIDI ports starts later than the sound
    expect(not box.sh(f"ls {state} | grep caught || true"), "no library of theirs was loaded")

    box.sh(
        "nverb settings set midi=auto; rm -r /root/etc 2>/dev/null; mkdir /root/etc", check=False
    )
    for name in LINKS:
        box.sh(
            f"cp -p {state}/{name} /root/kept-{name} 2>/dev/null; rm -f {state}/{name}; "
            f"echo precious > /root/etc/{name}; {player}ln -s /root/etc/{name} {state}/{name}",
        )
    box.sh(f"mv {state}/profiles /root/kept-profiles 2>/dev/null", check=False)
    box.sh(f"{player}ln -s /root/etc {state}/profiles")
    for command in (
        "settings set block_frames=64",
        "settings reset",
        "preset save Hall",
        "preset remove Hall",
        "board copy sim mine",
        "board calibrate sim --remove",
        "midi remove",
    ):
        box.sh(f"cd / && nverb {command}", show=True, check=False)
    kept = box.sh("cd /root/etc; cat $(ls -A); ls -A | wc -l").split()
    expect(kept == ["precious"] * len(LINKS) + [str(len(LINKS))], "root has overwritten nothing")
    box.sh(
        f"find {state} -maxdepth 1 -type l -delete; "
        f"for f in /root/kept-*; do mv $f {state}/${{f#/root/kept-}}; done; "
        f"rm -rf {state}/evil.so {state}/.asoundrc {state}/.config",
        check=False,
    )

    uid = box.sh("id -u nverb").strip()
    box.sh("systemctl stop nverb.target nverb-jack nverb-audio nverb-control")
    taken = ["jack-shm-registry", f"jack_default_{uid}_0", f"jack-{uid}-0", "sem.jack_sem"]
    for name in taken:
        box.sh(f"rm -rf /dev/shm/{name}; runuser -u stranger -- touch /dev/shm/{name}")
    box.sh("systemctl start nverb.target")
    expect(box.wait_for_room(), "it plays while a stranger has JACK's names in /dev/shm")
    names = box.sh("ls /run/nverb/shm")
    expect(f"jack_default_{uid}_0" in names, "JACK's names are in a /dev/shm of the service")
    rows = box.sh(
        f"for s in jack audio control; do stat -Lc %d /proc/$({pid}$s)/root/dev/shm; done"
    )
    expect(len(set(rows.split())) == 1, "which its three services share")
    box.sh(f"cd /dev/shm && rm -f {' '.join(taken)}")
    drop_in = "/etc/systemd/system/nverb-.service.d/shared-jack.conf"
    box.sh(f"printf '[Service]\\nBindPaths=\\n' > {drop_in}; systemctl daemon-reload; "
           "systemctl restart nverb.target")  # fmt: skip
    box.wait_for_room()
    expect(f"jack_default_{uid}_0" in box.sh("ls /dev/shm"), "a drop-in shares it with others")
    box.sh(f"rm {drop_in}; systemctl daemon-reload; systemctl restart nverb.target")


def removed(box: Container) -> None:
    box.on()
    print("\n== removed: somebody empties /run/nverb", flush=True)
    before = box.wait_for_room()
    box.sh("find /run/nverb -maxdepth 1 -type f -delete")
    box.sh("rm /run/nverb/control.sock")
    after = box.wait_for_room()
    expect(
        after["control"]["pid"] == before["control"]["pid"], "files in /run/nverb are made again"
    )
    expect(after["audio"]["pid"] == before["audio"]["pid"], "while the sound goes on")
    box.sh("systemctl kill -s KILL nverb-control")
    after = box.wait_for_room()
    expect(
        after["control"]["pid"] != before["control"]["pid"]
        and after["audio"]["pid"] == before["audio"]["pid"],
        "a new control process finds the mailbox that somebody removed",
    )
    box.sh("systemctl restart nverb.target")
    box.wait_for_room()


def rights(box: Container) -> None:
    box.on()
    print("\n== rights: the table in docs/service.md", flush=True)
    player = "cd /tmp && runuser -u player -- "
    box.sh("usermod -aG nverb player")
    box.sh(f"{player}nverb preset save mine; nverb preset save root; nverb board copy sim shelf")
    box.sh(f"{player}nverb settings set midi=auto; nverb midi remove", check=False)
    listed = box.sh(f"find {' '.join(service_table.FOLDERS)} -printf '%p %u:%g %m\\n'")
    document = (REPOSITORY / "docs/service.md").read_text()
    rows = service_table.rows(document)
    wrong = service_table.compare(rows, listed.replace(" player:", " MEMBER:").splitlines())
    for line in wrong:
        print(f"  {line}")
    expect(not wrong, f"{len(rows)} rows of the table hold, and each file is in one")


def recovery(box: Container) -> None:
    box.on()
    print("\n== recovery", flush=True)
    figures = json.loads(box.sh("nverb bench recovery --service --json", timeout_s=400))
    print(f"  a bare start of the audio process: {figures['start_s']:.2f} s")
    for fault in figures["faults"]:
        ratio = fault["gap_s"] / figures["start_s"]
        back = f"room back after {fault['room_s']:.2f} s" if fault["room_s"] else "room not lost"
        gap = f"no sound for {fault['gap_s']:5.2f} s ({ratio:3.1f} starts)"
        print(f"  {fault['fault']:28} {gap}, {back}")
        expect(fault["same"], "the controls are unchanged")
        if fault["gap_s"] > figures["bar_s"]:
            print(f"  ABOVE THE BAR of {figures['bar_s']} s")
    box.sh(
        "journalctl -o cat --no-pager -u 'nverb-*' -n 40 | "
        "grep -i -E 'watchdog|killed|stalled|block size' | tail -12",
        show=True,
        check=False,
    )


def loop(box: Container) -> None:
    box.on()
    print("\n== crash loop", flush=True)
    box.wait_for_room()
    box.sh(
        "for i in 1 2 3 4; do until systemctl -q is-active nverb-audio; do sleep 0.1; done; "
        "systemctl kill -s KILL nverb-audio; sleep 0.3; done",
        show=True,
    )
    status = box.wait_for_room()
    deadline = time.monotonic() + 20
    while status["room"]["bank"] != "built-in" and time.monotonic() < deadline:
        time.sleep(0.2)
        status = box.wait_for_room()
    print(f"  {status['safe_start']}")
    expect(
        status["safe_start"] and status["room"]["bank"] == "built-in", "it plays the built-in rooms"
    )
    box.shut_down()
    print("  three power cuts, each when it begins to play", flush=True)
    for _ in range(3):
        box.boot()
        box.wait_for_room()
        box.pull_the_plug()
    box.boot()
    expect(not box.wait_for_room()["safe_start"], "power cuts do not count as a crash loop")


def settings(box: Container) -> None:
    box.on()
    print("\n== settings", flush=True)
    box.sh("nverb settings set block_frames=256")
    box.sh("systemctl restart nverb.target")
    frames = box.wait_for_room()["audio"]["block_frames"]
    expect(frames == 256, "the block size is that of the settings file")
    box.sh(
        "cp -p /var/lib/nverb/settings.toml /tmp/kept; "
        "echo 'blok_frames = 64' >> /var/lib/nverb/settings.toml; nverb settings",
        show=True,
        check=False,
    )
    box.sh("systemctl restart nverb-audio nverb-control")
    expect(box.wait_for_room(), "a bad settings file does not stop the sound")
    box.sh("journalctl -o cat --no-pager -u nverb-audio | grep blok_frames | tail -1", show=True)
    box.sh("cp -p /tmp/kept /var/lib/nverb/settings.toml; systemctl restart nverb.target")
    box.wait_for_room()


def plug(box: Container) -> None:
    box.on()
    print("\n== read-only system, power cuts", flush=True)
    box.sh("cp -a /var/lib/nverb /var/tmp/state")
    box.shut_down()
    shutil.copytree(box.root / "var/tmp/state", box.work / "state", dirs_exist_ok=True)
    owner = (box.root / "var/tmp/state").stat()
    for path in [box.work / "state", *(box.work / "state").rglob("*")]:
        os.chown(path, owner.st_uid, owner.st_gid)
    fingerprint = _fingerprint(box.root)
    for turn in range(4):
        box.boot(read_only=True)
        box.wait_for_room()
        box.sh(f"nverb set x={turn + 2}; nverb preset save power{turn}", show=turn == 0)
        if turn == 2:  # while it writes
            box.sh(
                "(for i in $(seq 100); do nverb settings set periods=$((2 + i % 2)); done) "
                ">/dev/null 2>&1 &"
            )
            time.sleep(1)
        box.pull_the_plug()
    box.boot(read_only=True)
    box.wait_for_room()
    kept = box.sh("nverb preset list; nverb settings", show=True)
    expect(
        all(f"power{turn}" in kept for turn in range(4)),
        "every preset that was saved before a power cut is kept",
    )
    box.shut_down()
    box.boot(read_only=True, overlay=False)
    box.wait_for_room()
    # systemd-nspawn mounts a /tmp in memory; Debian 12 has none.
    box.sh("mount -o remount,ro /tmp && systemctl restart nverb.target", show=True)
    box.wait_for_room()
    box.sh("nverb preset save plain", show=True)
    expect(
        not box.sh("systemctl --failed --no-legend").strip(),
        "it plays with a read-only system and /tmp, without an overlay",
    )
    box.shut_down()
    expect(_fingerprint(box.root) == fingerprint, "the system was not changed")


def _fingerprint(root: Path) -> str:
    rows = [
        f"{path.relative_to(root)} {path.lstat().st_mtime_ns} {path.lstat().st_size}"
        for path in sorted((root / "etc").rglob("*"))
    ]
    rows += [
        f"{path.relative_to(root)} {path.lstat().st_mtime_ns}"
        for path in sorted((root / "opt").rglob("*"))
    ]
    return hashlib.sha256("\n".join(rows).encode(errors="surrogateescape")).hexdigest()


def uninstall(box: Container) -> None:
    print("\n== uninstall", flush=True)
    box.boot()
    box.wait_for_room()
    box.sh("make -s -C /src uninstall", show=True)
    left = sorted(files(box) - set((box.work / "before").read_text().splitlines()))
    left = [
        path
        for path in left
        if not path.startswith(
            ("/var/lib/nverb", "/home", "/var/tmp", "/var/mail", "/var/spool/mail")
        )
    ]
    expect(left == [], f"only the state folder remains {left or ''}")
    expect(box.sh("ls /var/lib/nverb/settings.toml"), "the state is kept")
    expect(
        "nverb"
        not in box.sh("ps -eo args | grep -v grep | grep -E 'nverb (jack|audio|control)' || true"),
        "no process of the pedal runs",
    )
    box.sh("make -s -C /src uninstall PURGE=1", show=True)
    expect(
        not box.sh("ls -d /var/lib/nverb 2>/dev/null; id nverb 2>/dev/null", check=False), "gone"
    )
    expect("not installed" in box.sh("make -s -C /src uninstall", check=False), "all of it")
    box.shut_down()


def desk(box: Container) -> None:
    """A user without root and without the service: nverb in an environment of their own."""
    print("\n== desk", flush=True)
    box.boot()
    expect(not box.sh("ls -d /opt/nverb 2>/dev/null", check=False), "the service is not installed")

    def user(script: str, *, check: bool = True, show: bool = True) -> str:
        words = f"cd && PATH=$HOME/v/bin:$PATH; {script}"
        return box.sh(f"runuser -l stranger -c {shlex.quote(words)}", check=check, show=show)

    user("python3 -m venv v && PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels v/bin/pip install -q nverb")
    for turn in range(2):
        user("nohup nverb run --dummy > log 2>&1 & echo $! > pid")
        deadline = time.monotonic() + 120
        while "playing" not in user("nverb status", check=False, show=False):
            if time.monotonic() > deadline:
                raise Wrong(f"it does not play: {user('cat log')}")
            time.sleep(0.5)
        if turn == 0:
            user("nverb set mix=70 bypass=toggle; nverb preset save Mine; nverb preset save Mine")
            expect("terminal of `nverb run`" in user("nverb logs", check=False), "where the log is")
        else:
            kept = user("nverb get mix bypass; nverb preset list; cat log")
            expect("mix = 70" in kept and "Mine" in kept, "mix and presets survive a new start")
            expect(
                "bypass = off" in kept and "nverb reset" in kept, "bypass does not, and it says so"
            )
            expect("defaults" in user("nverb reset"), "nverb reset sets the defaults")
            expect("mix = 35" in user("nverb get mix"), "all of them")
        user("kill $(cat pid); while kill -0 $(cat pid) 2>/dev/null; do sleep 0.1; done")
    expect(not user("pgrep -u stranger jackd", check=False), "nothing is left running")
    box.shut_down()


def select(names: list[str]) -> list[Callable[[Container], None]]:
    """The steps of these names, after `install`, which all others need but ON_A_BLANK_CARD."""
    first = [] if names and ON_A_BLANK_CARD.issuperset(names) else [install]
    return [step for step in STEPS if not names or step in first or step.__name__ in names]


STEPS: tuple[Callable[[Container], None], ...] = (
    install,
    boot,
    access,
    push,
    member,
    hostile,
    removed,
    rights,
    recovery,
    loop,
    settings,
    plug,
    uninstall,
    desk,
    upkeep,
    root_hour,
    member_hour,
    desk_hour,
)
ON_A_BLANK_CARD = {"upkeep", "root_hour", "member_hour", "desk_hour"}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "steps",
        nargs="*",
        help=f"run only these (default: all): {', '.join(step.__name__ for step in STEPS)}",
    )
    parser.add_argument("--keep", action="store_true", help="keep the container's folder")
    args = parser.parse_args()
    if os.geteuid() != 0:
        print("container.py: needs root: run it with sudo", file=sys.stderr)
        return 1
    for tool, package in (("mmdebstrap", "mmdebstrap"), ("systemd-nspawn", "systemd-container")):
        if shutil.which(tool) is None:
            print(f"container.py: {tool} is missing: apt-get install {package}", file=sys.stderr)
            return 1
    work = Path(tempfile.mkdtemp(prefix="nverb-container-", dir="/var/tmp"))
    begun = time.monotonic()
    box = None
    try:
        (work / "wheels").mkdir()
        wheels(work / "wheels")
        box = Container(work, work / "wheels")
        for step in select(args.steps):
            step(box)
    except (Wrong, OSError, subprocess.SubprocessError) as error:
        print(f"\nWRONG: {error}", flush=True)
        return 1
    finally:
        if box is not None:
            box.close()
        if not args.keep:
            remove(work)
    print(f"\nall checks passed in {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
