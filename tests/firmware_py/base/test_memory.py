"""Locked memory, in a process of its own, against what the kernel says of it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from firmware_py.base.memory import IDLE_LIBRARIES
from firmware_py.jack.server import JACK_CODE

PROGRAM = """
import mmap, os, re, tempfile
from firmware_py.base.memory import lock_pages
with tempfile.NamedTemporaryFile(dir="/dev/shm") as spared, tempfile.NamedTemporaryFile(dir="/dev/shm") as other:
    maps = []
    for file in (spared, other):
        file.truncate(8 << 20)
        maps.append(mmap.mmap(file.fileno(), 0))
    beyond = tempfile.TemporaryFile(dir="/dev/shm")
    beyond.truncate(8 << 20)
    maps.append(mmap.mmap(beyond.fileno(), 0))
    beyond.truncate(4096)  # what is mapped ends later than the file
    private = mmap.mmap(-1, 8 << 20)
    whole = lock_pages(spared.name)
    later = mmap.mmap(-1, 8 << 20)
    locked = {}
    for line in open("/proc/self/smaps"):
        head = re.match(r"[0-9a-f]+-[0-9a-f]+ (\\S+) \\S+ \\S+ \\d+ *(.*)", line)
        if head:
            name, access = head[2], head[1]
        elif line.startswith(("Locked:", "Size:")) and "---" not in access and not name.startswith("[v"):
            key = {spared.name: "spared", other.name: "other"}.get(name, "rest")
            kind = line.split(":")[0]
            locked[key, kind] = locked.get((key, kind), 0) + int(line.split()[1])
    print(whole, os.fstat(spared.fileno()).st_blocks, os.fstat(other.fileno()).st_blocks * 512 >> 20,
          locked["spared", "Locked"], locked["rest", "Locked"] / locked["rest", "Size"])
"""


@pytest.fixture
def may_lock() -> None:
    """The kernel's own word, not that of what is tested."""
    probe = (
        "import ctypes, mmap, sys; m = mmap.mmap(-1, 64 << 20); "
        "sys.exit(ctypes.CDLL(None).mlock(ctypes.byref(ctypes.c_char.from_buffer(m)), ctypes.c_size_t(64 << 20)) != 0)"
    )
    if subprocess.run([sys.executable, "-c", probe], check=False).returncode:
        pytest.skip("who runs the tests may not lock 64 MiB of memory here (ulimit -l)")


@pytest.mark.usefixtures("may_lock")
def test_all_but_one_file_is_locked() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    whole, spared_blocks, other_mib, spared_kib, share = done.stdout.split()
    assert whole == "True"
    assert int(spared_blocks) == 0
    assert int(other_mib) == 8
    assert int(spared_kib) == 0
    # Pss: of files that others map, too, a share counts for each. Two anonymous mappings of 8 MiB are among the rest.
    assert float(share) > 0.4


@pytest.mark.parametrize(
    ("path", "idle"),
    [
        ("/usr/lib/aarch64-linux-gnu/libvorbisenc.so.2.0.12", True),
        ("/usr/lib/aarch64-linux-gnu/libdb-5.3.so", True),
        ("/opt/nverb/x/pyo.libs/libasound-147da967.so.2.0.0", True),
        ("/usr/lib/aarch64-linux-gnu/libjack.so.0.1.0", False),
        ("/usr/lib/aarch64-linux-gnu/libm.so.6", False),
        ("/usr/lib/aarch64-linux-gnu/libstdc++.so.6.0.30", False),
        ("/opt/nverb/x/pyo/_pyo.cpython-311-aarch64-linux-gnu.so", False),
        ("/opt/nverb/libz/dsp/_engine.cpython-311-aarch64-linux-gnu.so", False),
    ],
)
def test_what_the_callback_may_enter_is_not_idle(path: str, idle: bool) -> None:
    assert bool(IDLE_LIBRARIES.search(path)) == idle


HOLDING = """
import re, subprocess
from firmware_py.base.memory import hold_code
other = subprocess.Popen(["sleep", "60"])
try:
    while "sleep" not in open(f"/proc/{other.pid}/maps").read():
        pass
    hold_code(other.pid, re.compile("/sleep$"))
    hold_code(other.pid, re.compile("/sleep$"))  # a second jackd: nothing more
finally:
    other.kill()
hold_code(2**31 - 1, re.compile(""))
print(open("/proc/self/smaps").read())
"""


@pytest.mark.usefixtures("may_lock")
def test_code_of_another_process_is_held() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOLDING], capture_output=True, text=True, check=True
    )
    mappings = re.findall(r"\S+/sleep\n(?:.*\n)*?Locked: +(\d+) kB", done.stdout)
    assert len(mappings) == 1
    assert int(mappings[0]) > 0


def test_jackd_is_known_by_its_files() -> None:
    held = (
        "/usr/bin/jackd",
        "/usr/lib/x/libjackserver.so.0.1.0",
        "/usr/lib/x/jack/jack_alsa.so",
        "/lib/ld-linux-aarch64.so.1",
        "/lib/libc.so.6",
    )
    assert all(JACK_CODE.search(path) for path in held)
    assert not any(
        JACK_CODE.search(path)
        for path in ("/usr/lib/x/libdb-5.3.so", "/usr/lib/x/libcap.so.2", "/dev/shm/jack-0-0")
    )
