"""Steps of container.py: docs/upkeep.md over real ssh and sudo, and a first hour of root, of a
member of the group, and of a desk user without root.

Upstream is a copy of this repository's HEAD in the container; a newer version is a commit there.
Pip takes everything from /wheels.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from checks import Wrong, expect

if TYPE_CHECKING:
    from container import Container

REPOSITORY = Path(__file__).resolve().parents[2]
UPSTREAM = "/srv/nverb.git"
STATE = "/var/lib/nverb"
PLAYS_S = 120
PIP = "[global]\nno-index = true\nfind-links = /wheels\ndisable-pip-version-check = true\n"
ROOMS = """
import sys
from bank.build import build
from models.generator import room_at
build(__import__("pathlib").Path(sys.argv[1]), room_at, steps=2, name="halls")
"""
User = Callable[..., str]
"""Runs a script as a user in a new login; `user(script, check=False)` as in `Container.sh`."""


def user_of(box: Container, name: str) -> User:
    def user(script: str, *, check: bool = True, timeout_s: float = 300) -> str:
        print(f"{name}$ {script}", flush=True)
        words = f"runuser -l {name} -c {shlex.quote('set -e; ' + script)} < /dev/null"
        text = box.sh(words, check=check, timeout_s=timeout_s)
        print("".join(f"  {line}\n" for line in text.splitlines()), end="", flush=True)
        return text

    return user


def blank(box: Container) -> None:
    """A card without nverb, with ssh, the users, and upstream."""
    box.on_without_pedal()
    box.sh("make -s -C /src uninstall PURGE=1", check=False)
    box.sh(f"printf %s {shlex.quote(PIP)} > /etc/pip.conf")
    names = "127.0.0.1 localhost $(hostname) pedal.local other.local"
    box.sh(f"grep -q pedal.local /etc/hosts || echo {names} >> /etc/hosts")
    for key, value in (
        ("safe.directory", "'*'"),
        ("user.name", "x"),
        ("user.email", "x@localhost"),
    ):
        box.sh(f"git config --system --replace-all {key} {value}")
    box.sh(f"rm -rf {UPSTREAM}; cp -r /wheels/nverb.git {UPSTREAM}; chmod -R a+rwX {UPSTREAM}")
    box.sh("ssh-keygen -A; systemctl start ssh; rm -f /run/nologin")
    for name in ("root", "builder", "member", "guest"):
        home = box.sh(
            f"id {name} >/dev/null 2>&1 || useradd -m -s /bin/bash {name}; echo ~{name}"
        ).strip()
        box.sh(
            f"runuser -l {name} -c 'mkdir -p -m 700 .ssh; "
            '[ -f .ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N "" -f .ssh/id_ed25519; '
            "cp .ssh/id_ed25519.pub .ssh/authorized_keys; "
            "ssh-keyscan -t ed25519 pedal.local other.local 2>/dev/null > .ssh/known_hosts'; "
            f"rm -rf {home}/nverb"
        )
    box.sh("echo 'builder ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/builder")


def release(user: User) -> str:
    """Commit a newer version upstream; return its number."""
    user(
        f"rm -rf /tmp/next; git clone -q {UPSTREAM} /tmp/next; cd /tmp/next; "
        "sed -i 's/^version = .*/version = 99.1/' setup.cfg; "
        "git commit -qam 'a newer version'; git push -q origin HEAD; rm -rf /tmp/next"
    )
    return "99.1"


def section(title: str) -> list[str]:
    """The shell blocks of a section of docs/upkeep.md."""
    text = (REPOSITORY / "docs/upkeep.md").read_text()
    after = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```\n(.*?)^```", after, re.DOTALL | re.M)


def upkeep(box: Container) -> None:
    """Backup, restore on another card, presets to another pedal, update, and the way back."""
    print("\n== upkeep: the commands of docs/upkeep.md, with ssh and sudo", flush=True)
    blank(box)
    builder = user_of(box, "builder")
    install = f"git clone -q {UPSTREAM} nverb; cd nverb; sudo make -s install"
    join = "sudo usermod -aG nverb,systemd-journal $USER"
    builder(f"{install}; {join}")
    expect(not builder("find nverb ! -user builder"), "sudo leaves the clone its owner's")
    builder("nverb settings set card=dummy profile=sim")
    builder("sudo systemctl restart nverb.target")
    box.wait_for_room()
    builder(f"/opt/nverb/current/bin/python -c {shlex.quote(ROOMS)} halls.nvbank")
    builder("nverb install halls.nvbank; nverb set mix=12; nverb preset save Mine")
    builder("nverb preset startup Mine; nverb board copy sim own")

    builder(section("Backup")[0])
    before = kept(box)
    builder("cd nverb; sudo make -s uninstall PURGE=1; cd; rm -rf nverb")
    builder(f"{install}; {join}")
    *restore, doctor = section("Restore, or move to another card")[0].splitlines()
    for line in restore:
        builder(line)
    status = box.wait_for_room()
    builder(doctor, check=False)
    expect(status["room"]["path"].startswith("halls@"), "the bank of the old card plays")
    expect("mix = 12" in builder("nverb get mix"), "with its startup preset")
    after = kept(box)
    expect(set(before) <= set(after) and all(after[n] == before[n] for n in before), "all is there")
    owners = box.sh(f"find {STATE} -printf '%U:%G %P\\n'").splitlines()
    own = box.sh("echo $(id -u nverb):$(id -g nverb)").strip()
    expect(all(line.startswith(own) for line in owners), "and belongs to the user nverb")
    expect("own" in builder("nverb board list; nverb settings set periods=2"), "and may be changed")

    presets = section("Restore, or move to another card")[1]
    export, push = presets.splitlines()
    builder(export)
    builder("nverb preset startup --none; nverb preset remove Mine")
    builder(push)
    expect("Mine" in builder("nverb preset list"), "presets come to another pedal")

    old = box.sh("readlink /opt/nverb/current").strip().rsplit("/", 1)[-1]
    new = release(builder)
    update, back = section("Update, and go back")
    *commands, doctor = update.splitlines()
    builder("; ".join(["cd nverb", *commands]), timeout_s=600)
    builder(doctor, check=False)
    expect(new in builder("nverb --version"), "the newer version is installed")
    expect(box.wait_for_room(), "and plays")
    builder(back.replace("VERSION", old))
    expect(new not in builder("nverb --version"), "one command goes back")
    expect(box.wait_for_room(), "and plays")
    expect("Mine" in builder("nverb preset list"), "the state folder stayed")
    box.sh("cd /home/builder/nverb && make -s uninstall PURGE=1")
    box.shut_down()


def kept(box: Container) -> dict[str, str]:
    """What a backup must bring back: mode and content of the files, but locks."""
    rows = box.sh(
        f"cd {STATE} && find . -type f ! -name '.*lock' "
        '-exec sh -c \'echo "$(stat -c %a "$1") $(sha256sum < "$1" | cut -c1-20) $1"\' - {} \';\''
    ).splitlines()
    return {name: f"{mode} {digest}" for mode, digest, name in (r.split(" ", 2) for r in rows)}


def begin(box: Container, who: str) -> User:
    """Install, play, save, push, break, mend, update, uninstall: on a blank card."""
    print(f"\n== a first hour: {who}", flush=True)
    blank(box)
    return user_of(box, "root")


def root_hour(box: Container) -> None:
    """Root does all of it."""
    root = begin(box, "root")
    root(f"git clone -q {UPSTREAM} nverb; cd nverb; make -s install", timeout_s=600)
    root("nverb settings set card=dummy profile=sim; systemctl restart nverb.target")
    box.wait_for_room()
    play_and_save(root)
    push(root, "/opt/nverb/current/bin/python", "nverb push pedal.local bank halls.nvbank")
    pid = box.status()["audio"]["pid"]
    root(f"kill -9 {pid}")
    wait(box, lambda: box.wait_for_room()["audio"]["pid"] != pid, "a killed sound returns")
    again = "systemctl restart nverb.target"
    break_and_mend(root, STATE, lambda: root(again), lambda: root(again) + str(box.wait_for_room()))
    new = release(root)
    root("cd nverb; git pull -q; make -s install", timeout_s=600)
    box.wait_for_room()
    expect(new in root("nverb --version"), "the newer version")
    expect("Mine" in root("nverb preset list"), "with the presets of before")
    said = root("cd nverb; make -s uninstall")
    expect("userdel nverb" in said, "what remains and how to remove it is said")
    expect("Mine" in root(f"cat {STATE}/presets.json; ! command -v nverb"), "presets are kept")
    root("cd nverb; make -s uninstall PURGE=1")
    box.shut_down()


def member_hour(box: Container) -> None:
    """Root installs, updates and removes; the member does the rest."""
    root, member = begin(box, "a member of the group"), user_of(box, "member")
    root(f"git clone -q {UPSTREAM} nverb; cd nverb; make -s install", timeout_s=600)
    said = member("nverb set x=7", check=False)
    expect("usermod" in said and said.count("\n") == 1, "who is not yet a member is told how")
    root("usermod -aG nverb,systemd-journal member")
    member("nverb settings set card=dummy profile=sim")
    root("systemctl restart nverb.target")
    box.wait_for_room()
    play_and_save(member)
    push(member, "/opt/nverb/current/bin/python", "nverb push pedal.local bank halls.nvbank")
    for words in ("nverb service add", "nverb service remove", "nverb run --dummy"):
        said = member(words, check=False)
        expect(said.count("\n") == 1 and "Traceback" not in said, f"{words} is refused in a line")

    again = "systemctl restart nverb.target"
    break_and_mend(
        member, STATE, lambda: root(again), lambda: root(again) + str(box.wait_for_room())
    )
    expect("nverb" in member("nverb logs"), "the log")
    new = release(root)
    root("cd nverb; git pull -q; make -s install", timeout_s=600)
    box.wait_for_room()
    expect(new in member("nverb --version"), "the newer version")
    expect(
        "mix = 40" in member("nverb preset load Mine; nverb get mix"), "with the member's presets"
    )
    root("cd nverb; make -s uninstall")
    said = member("nverb status", check=False)
    expect("not found" in said, "nverb is gone")
    root("cd nverb; make -s uninstall PURGE=1")
    box.shut_down()


def desk_hour(box: Container) -> None:
    """`make install` in a clone, `nverb run`."""
    begin(box, "a desk user without root")
    guest = user_of(box, "guest")
    guest(f"git clone -q {UPSTREAM} nverb; cd nverb; make -s install", timeout_s=600)
    expect("nverb" in guest("command -v nverb; man -w nverb || ls .local/share/man/man1/nverb.1"),
           "a new login has nverb on its PATH")  # fmt: skip
    data = "/home/guest/.local/share/nverb"

    def start() -> object:
        guest("nohup nverb run --dummy > log 2>&1 & echo $! > pid")
        return wait(box, lambda: "playing" in guest("nverb status", check=False), "it plays")

    stop = "kill $(cat pid); while kill -0 $(cat pid) 2>/dev/null; do sleep 0.1; done"
    start()
    play_and_save(guest)
    own = "--command /home/guest/.local/bin/nverb"
    push(guest, "nverb/.venv/bin/python", f"nverb push {own} localhost bank halls.nvbank")

    def refused() -> None:
        guest(stop)
        said = guest("nverb run --dummy 2>&1", check=False)
        expect("nverb settings reset" in said, "a run with broken settings names the remedy")

    break_and_mend(guest, data, refused, start)
    guest(section("Backup")[1])
    expect("presets.json" in guest("tar -tzf desk.tgz"), "the backup has the presets")
    guest(stop)
    new = release(guest)
    guest("cd nverb; git pull -q; make -s install", timeout_s=600)
    expect(new in guest("nverb --version"), "the newer version")
    start()
    expect("Mine" in guest("nverb preset list"), "with the presets of before")
    guest(stop)
    guest("cd nverb; make -s uninstall")
    expect("none" in guest("command -v nverb || echo none"), "nverb is gone")
    expect("Mine" in guest(f"cat {data}/presets.json"), "presets are kept")
    box.shut_down()


def play_and_save(user: User) -> None:
    said = user("nverb set x=7 mix=40%; nverb status")
    expect("no sound card (dummy)" in said, "the status says which sound card plays")
    user("nverb preset save Mine; nverb preset load Spring")
    expect("mix = 40" in user("nverb preset load Mine; nverb get mix"), "a preset keeps the sound")


def push(user: User, python: str, command: str) -> None:
    user(f"{python} -c {shlex.quote(ROOMS)} halls.nvbank; ssh -o StrictHostKeyChecking=accept-new "
         "localhost true")  # fmt: skip
    user(command)
    user(command)
    expect(re.search(r"\* .*halls", user("nverb list")), "a pushed bank plays")


def break_and_mend(
    user: User, data: str, restart: Callable[[], object], play: Callable[[], object]
) -> None:
    """Settings that are no settings, presets that are lost: the doctor names each remedy.

    `restart`: with the broken settings a service looks for a sound card, and the container has
    none; `nverb run` is refused. `play`: (re)start, and wait until it plays.
    """
    user("nverb preset remove Mine")
    user(f"echo nonsense > {data}/settings.toml")
    restart()
    said = user("nverb doctor", check=False)
    expect("settings.toml" in said and "nverb settings reset" in said, "doctor names the remedy")
    user("nverb settings reset")
    user("nverb settings set card=dummy profile=sim")
    play()
    expect("settings.toml" not in user("nverb doctor", check=False), "doctor is content")
    expect("Mine" in user("nverb preset undo"), "undo brings the preset back")


def wait(box: Container, true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PLAYS_S
    while not true():
        if time.monotonic() > deadline:
            raise Wrong(f"not true within {PLAYS_S} s: {what}")
        time.sleep(0.5)
    print(f"  ok: {what}", flush=True)
