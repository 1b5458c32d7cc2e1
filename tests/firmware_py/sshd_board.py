"""A private OpenSSH server on a high port of this machine, with keys and configuration of its own: a board to push to."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NVERB = f"{sys.executable} -m firmware_py.cli"


@dataclass
class Board:
    folder: Path
    data: Path
    port: int
    client_config: Path

    @property
    def options(self) -> list[str]:
        """Of `nverb push`."""
        return ["-F", str(self.client_config), "-p", str(self.port), "--command", NVERB]

    def ssh(self, command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["ssh", "-F", self.client_config, "-p", str(self.port), "localhost", command],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=60,
        )


@contextlib.contextmanager
def board(folder: Path) -> Iterator[Board]:
    """Serves until the end of the block. Its sessions see data and runtime folders of their own."""
    folder.mkdir()
    data, runtime = folder / "data", folder / "runtime"
    data.mkdir()
    runtime.mkdir()
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    host_key = (folder / "host.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[localhost]:{port} {' '.join(host_key)}\n")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nSubsystem sftp internal-sftp\n"
        f"SetEnv NVERB_DATA_DIR={data} NVERB_RUNTIME_DIR={runtime} OPENBLAS_NUM_THREADS=1\n"
    )
    config = folder / "ssh_config"
    config.write_text(
        f"Host *\n  HostName 127.0.0.1\n  HostKeyAlias [localhost]:{port}\n  IdentityFile {folder}/user\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder}/known_hosts\n  LogLevel ERROR\n"
    )
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    assert sshd, "openssh-server is missing: `make test` installs it"
    log = open(folder / "log", "wb")
    process = subprocess.Popen([sshd, "-D", "-e", "-f", folder / "sshd_config"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        yield Board(folder, data, port, config)
    finally:
        process.terminate()
        process.wait()
        log.close()
