"""Locked memory, in a child process, compared with the kernel's figures."""

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
def shared_file():
    return tempfile.NamedTemporaryFile(dir="/dev/shm")
with shared_file() as spared, shared_file() as other:
    maps = []
    for file in (spared, other):
        file.truncate(8 << 20)
        maps.append(mmap.mmap(file.fileno(), 0))
    beyond = tempfile.TemporaryFile(dir="/dev/shm")
    beyond.truncate(8 << 20)
    maps.append(mmap.mmap(beyond.fileno(), 0))
    beyond.truncate(4096)  # the mapping is longer than the file
    private = mmap.mmap(-1, 8 << 20)
    whole = lock_pages(spared.name)
    later = mmap.mmap(-1, 8 << 20)
    locked = {}
    for line in open("/proc/self/smaps"):
        head = re.match(r"[0-9a-f]+-[0-9a-f]+ (\\S+) \\S+ \\S+ \\d+ *(.*)", line)
        if head:
            name, access = head[2], head[1]
        elif "---" in access or name.startswith("[v"):
            continue
        elif line.startswith(("Locked:", "Size:")):
            key = {spared.name: "spared", other.name: "other"}.get(name, "rest")
            kind = line.split(":")[0]
            locked[key, kind] = locked.get((key, kind), 0) + int(line.split()[1])
    print(whole, os.fstat(spared.fileno()).st_blocks,
          os.fstat(other.fileno()).st_blocks * 512 >> 20,
          locked["spared", "Locked"], locked["rest", "Locked"] / locked["rest", "Size"])
"""


@pytest.fixture
def may_lock() -> None:
    """Skips without permission to lock 64 MiB; asks the kernel, not the tested code."""
    probe = (
        "import ctypes, mmap, sys; m = mmap.mmap(-1, 64 << 20); "
        "address = ctypes.byref(ctypes.c_char.from_buffer(m)); "
        "sys.exit(ctypes.CDLL(None).mlock(address, ctypes.c_size_t(64 << 20)) != 0)"
    )
    if subprocess.run([sys.executable, "-c", probe], check=False).returncode:
        pytest.skip("this user may not lock 64 MiB of memory (ulimit -l)")


@pytest.mark.usefixtures("may_lock")
def test_lock_pages_locks_all_but_one_file() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    whole, spared_blocks, other_mib, spared_kib, share = done.stdout.split()
    assert whole == "True"
    assert int(spared_blocks) == 0
    assert int(other_mib) == 8
    assert int(spared_kib) == 0
    # Locked counts Pss: only a share of files that other processes map. The rest includes two
    # anonymous mappings of 8 MiB.
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
def test_idle_libraries_exclude_code_of_callback(path: str, idle: bool) -> None:
    assert bool(IDLE_LIBRARIES.search(path)) == idle


HOLDING = """
import re, subprocess
from firmware_py.base.memory import lock_code
other = subprocess.Popen(["sleep", "60"])
try:
    while "sleep" not in open(f"/proc/{other.pid}/maps").read():
        pass
    lock_code(other.pid, re.compile("/sleep$"))
    lock_code(other.pid, re.compile("/sleep$"))  # a second call has no effect
finally:
    other.kill()
lock_code(2**31 - 1, re.compile(""))
print(open("/proc/self/smaps").read())
"""


@pytest.mark.usefixtures("may_lock")
def test_lock_code_locks_code_of_another_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOLDING], capture_output=True, text=True, check=True
    )
    mappings = re.findall(r"\S+/sleep\n(?:.*\n)*?Locked: +(\d+) kB", done.stdout)
    assert len(mappings) == 1
    assert int(mappings[0]) > 0


def test_jack_code_matches_files_of_jackd() -> None:
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
