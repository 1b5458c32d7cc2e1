"""Signatures of files to install: OpenSSH's, made and checked by `ssh-keygen -Y`.

    DATA/trust/allowed_signers     format of ssh-keygen(1), "ALLOWED SIGNERS": one line per signer,
                                   anna@example.org namespaces="nverb" ssh-ed25519 AAAA...

If that path exists, every installed file must be signed by one of these signers, in the namespace
"nverb". An empty or unreadable file rejects every signature. To sign at a desk: `nverb push --sign
KEY`, or `ssh-keygen -Y sign -n nverb -f KEY FILE`, which writes FILE.sig.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from dsp.errors import UserError

NAMESPACE = "nverb"
MAX_SIGNATURE = 16384
BEGIN = "-----BEGIN SSH SIGNATURE-----"


def allowed_signers(data: Path) -> Path:
    return data / "trust" / "allowed_signers"


def is_required(data: Path) -> bool:
    """True if files must be signed. Raises OSError if that cannot be read."""
    try:
        os.lstat(allowed_signers(data))
    except FileNotFoundError:
        return False
    return True


def verify(data: Path, content: int, signature: str) -> str:
    """The signer of the file open as `content`. Raises UserError if it is not an allowed signer."""
    signers = allowed_signers(data)
    if BEGIN not in signature or len(signature) > MAX_SIGNATURE:
        raise UserError(
            "the signature is not an OpenSSH signature; "
            "sign the file with `ssh-keygen -Y sign -n nverb -f KEY FILE`"
        )
    # The board's clock may be in 1970 until the network is up: check the validity period of a
    # signer at the time when the list was written, or later.
    try:
        now = max(time.time(), signers.stat().st_mtime)
    except OSError as error:
        raise UserError(f"{signers}: {error.strerror}; no file can be installed") from None
    at = time.strftime("-Overify-time=%Y%m%d%H%M%SZ", time.gmtime(now))
    with tempfile.NamedTemporaryFile("w", prefix="nverb-", suffix=".sig") as file:
        file.write(signature)
        file.flush()
        who = _ssh_keygen(
            "find-principals", at, "-f", os.fspath(signers), "-s", file.name, content=content
        )
        if who.returncode:
            raise UserError(
                f"the signature is by nobody in {signers}: have the file signed by a listed signer"
            )
        signer = who.stdout.decode(errors="replace").splitlines()[0].strip()
        checked = _ssh_keygen(
            "verify",
            at,
            "-f",
            os.fspath(signers),
            "-I",
            signer,
            "-n",
            NAMESPACE,
            "-s",
            file.name,
            content=content,
        )
    if checked.returncode:
        raise UserError(
            f"the signature by {signer} does not fit the file: "
            "the file was changed, or signed for another use than nverb"
        )
    return signer


def sign(key: Path, content: int) -> str:
    """Sign the file open as `content`. ssh-keygen may ask for the passphrase, or use the agent.

    Raises UserError.
    """
    os.lseek(content, 0, os.SEEK_SET)
    done = subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", os.fspath(key)],
        stdin=content,
        capture_output=True,
        check=False,
    )
    text = done.stdout.decode(errors="replace")
    if done.returncode or BEGIN not in text:
        why = (
            " ".join(done.stderr.decode(errors="replace").split())
            or "ssh-keygen wrote no signature"
        )
        raise UserError(f"{key}: cannot sign with this key: {why}")
    return text


def _ssh_keygen(what: str, *words: str, content: int) -> subprocess.CompletedProcess[bytes]:
    os.lseek(content, 0, os.SEEK_SET)
    try:
        return subprocess.run(
            ["ssh-keygen", "-Y", what, *words],
            stdin=content,
            capture_output=True,
            check=False,
            timeout=60,
        )
    except FileNotFoundError:
        raise UserError(
            "signatures are required and ssh-keygen is missing: sudo apt-get install openssh-client"
        ) from None
    except subprocess.TimeoutExpired:
        raise UserError("ssh-keygen did not answer within a minute") from None
