"""A board to push to: a private OpenSSH server on a high port, with its own keys and settings."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from waiting import HANG_S, wait_until

NVERB = f"{sys.executable} {Path(__file__).with_name('quick_trials.py')}"


@dataclass
class SshdBoard:
    """The folders and the port of a running server."""

    folder: Path
    data: Path
    port: int
    client_config: Path

    @property
    def options(self) -> list[str]:
        """Options of `nverb push` for this board."""
        return ["-F", str(self.client_config), "-p", str(self.port), "--command", NVERB]

    def ssh(self, command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["ssh", "-F", self.client_config, "-p", str(self.port), "localhost", command],
            input=stdin,
            capture_output=True,
            check=False,
            timeout=HANG_S,
        )


def _server(folder: Path) -> tuple[Path, list[str], dict[str, str]]:
    """Path, options and environment of the installed sshd or the one unpacked by `make test`."""
    environment = dict(os.environ)
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
        try:
            pwd.getpwnam("sshd")
        except KeyError:  # the user of its network process
            users = folder / "passwd"
            users.write_text(
                Path("/etc/passwd").read_text()
                + "sshd:x:65534:65534::/run/sshd:/usr/sbin/nologin\n"
            )
            environment |= {
                "LD_PRELOAD": "libnss_wrapper.so",
                "NSS_WRAPPER_PASSWD": os.fspath(users),
                "NSS_WRAPPER_GROUP": "/etc/group",
            }
    if found := shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"):
        return Path(found), [], environment
    root = Path(sys.prefix, "sshd")
    sshd = root / "usr/sbin/sshd"
    assert sshd.exists(), "sshd is missing: `make test` unpacks it"
    # OpenSSH 9.8 and later (Debian 13) has several programs.
    parts = {"SshdSessionPath": "sshd-session", "SshdAuthPath": "sshd-auth"}
    places = {key: root / "usr/lib/openssh" / name for key, name in parts.items()}
    return sshd, [f"-o{key}={path}" for key, path in places.items() if path.exists()], environment


@contextlib.contextmanager
def board(folder: Path) -> Iterator[SshdBoard]:
    """A running server; its sessions use their own data and runtime folders."""
    folder.mkdir()
    data, runtime = folder / "data", folder / "runtime"
    data.mkdir()
    runtime.mkdir()
    for key in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    host_key = (folder / "host.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[localhost]:{port} {' '.join(host_key)}\n")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\n"
        "Subsystem sftp internal-sftp\n"
        f"SetEnv NVERB_DATA_DIR={data} NVERB_RUNTIME_DIR={runtime} OPENBLAS_NUM_THREADS=1\n"
    )
    config = folder / "ssh_config"
    config.write_text(
        f"Host *\n  HostName 127.0.0.1\n  HostKeyAlias [localhost]:{port}\n"
        f"  IdentityFile {folder}/user\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder}/known_hosts\n  LogLevel ERROR\n"
    )
    sshd, options, environment = _server(folder)
    log = open(folder / "log", "wb")
    process = subprocess.Popen(
        [sshd, "-D", "-e", "-f", folder / "sshd_config", *options],
        stdout=log,
        stderr=log,
        env=environment,
    )
    try:

        def answers() -> bool:
            assert process.poll() is None, (folder / "log").read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(answers)
        yield SshdBoard(folder, data, port, config)
    finally:
        process.terminate()
        process.wait()
        log.close()
