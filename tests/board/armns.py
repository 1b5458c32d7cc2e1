"""Run a command that can start ARM programs: `armns.py COMMAND ARGUMENTS...`, as root.

The kernel starts ARM programs with qemu-user if binfmt_misc knows their magic numbers. Debian's
qemu-user-static registers them under systemd. If they are not registered, this program registers
them in a user namespace of the command. Linux 6.7 and newer keep that separate from the machine, so
nothing outside changes.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER, MS_REC, MS_PRIVATE = 0x20000, 0x10000000, 0x4000, 0x40000
REGISTRY = "/proc/sys/fs/binfmt_misc"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
MAGIC = {  # ELF header: class, machine
    "aarch64": r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
    "arm": r"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00",
}
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)


def _enter_namespace() -> None:
    """Return in a child with its own namespaces and unchanged user numbers.

    The parent waits for the child and exits with its status.
    """
    ready, mapped = os.pipe(), os.pipe()
    child = os.fork()
    if child:
        os.read(ready[0], 1)
        for table in ("uid_map", "gid_map"):
            Path(f"/proc/{child}/{table}").write_text("0 0 65536\n")
        os.write(mapped[1], b"x")
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    _check(_libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare")
    os.write(ready[1], b"x")
    os.read(mapped[0], 1)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    _check(_libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount /")


def main() -> None:
    if not Path(REGISTRY, "qemu-aarch64").exists():
        _enter_namespace()
        _check(
            _libc.mount(b"none", REGISTRY.encode(), b"binfmt_misc", 0, None),
            "binfmt_misc (needs Linux 6.7 or newer)",
        )
        for name, magic in MAGIC.items():
            # F: open the interpreter now, so that a chroot needs no copy of it.
            # P: programs see their own name.
            Path(REGISTRY, "register").write_text(
                f":qemu-{name}:M::{magic}:{MASK}:/usr/bin/qemu-{name}-static:FP"
            )
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
