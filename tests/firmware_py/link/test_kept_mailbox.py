"""The mailbox of a control process that died, after somebody removed its file."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from waiting import HANG_S

from firmware_py.link import mailbox
from firmware_py.link.mailbox import Mailbox

NEXT = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "mailbox"}
from firmware_py.link.mailbox import Mailbox
found = Mailbox()
assert found.refresh() and found.port is not None
print(found.port.newest_room())
"""
"""The next control process, as systemd starts it."""


def test_next_control_process_finds_a_removed_mailbox_that_systemd_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVERB_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    port = mailbox.create(block_frames=128, rate_hz=48000, max_taps=2000, inputs=2)
    port.load_ir(np.ones((2, 10), np.float32), 77)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(HANG_S)
        assert Mailbox().refresh()
        assert systemd.recv(100) == b"FDSTOREREMOVE=1\nFDNAME=mailbox"
        said, [kept], _, _ = socket.recv_fds(systemd, 100, 1)
        assert said == b"FDSTORE=1\nFDNAME=mailbox"
    mailbox.forget()
    done = subprocess.run(
        [sys.executable, "-c", NEXT, str(kept)],
        pass_fds=[kept],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    os.close(kept)
    assert done.stdout == "77\n", done.stderr
