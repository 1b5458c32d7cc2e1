"""Signatures: who may install. OpenSSH's own, made and checked by `ssh-keygen -Y`; no key infrastructure beside it.

    DATA/trust/allowed_signers     in the format of ssh-keygen(1), "ALLOWED SIGNERS": one line for each signer, such as
                                   anna@example.org namespaces="nverb" ssh-ed25519 AAAA...

If there is anything of that name, whatever is installed must be signed by one of them, in the namespace "nverb". An empty or
unreadable file lets nobody in. Signing, at a desk: `nverb push --sign KEY`, or `ssh-keygen -Y sign -n nverb -f KEY FILE`, which
makes FILE.sig.
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
    """Must what is installed be signed? Yes also when we cannot find out."""
    try:
        os.lstat(allowed_signers(data))
    except FileNotFoundError:
        return False
    except OSError:
        pass
    return True


def verify(data: Path, content: int, signature: str) -> str:
    """Who signed the file open as `content`. Raises UserError unless it was an allowed signer."""
    signers = allowed_signers(data)
    if BEGIN not in signature or len(signature) > MAX_SIGNATURE:
        raise UserError(
            "what came as its signature is none; sign it with `ssh-keygen -Y sign -n nverb -f KEY FILE`"
        )
    # The board's clock may stand in 1970 until the network is there: a signer's period of validity is looked at no earlier than when
    # the list was written.
    try:
        now = max(time.time(), signers.stat().st_mtime)
    except OSError as error:
        raise UserError(f"{signers}: {error.strerror}; nothing can be installed") from None
    at = time.strftime("-Overify-time=%Y%m%d%H%M%SZ", time.gmtime(now))
    with tempfile.NamedTemporaryFile("w", prefix="nverb-", suffix=".sig") as file:
        file.write(signature)
        file.flush()
        who = _ssh_keygen(
            "find-principals", at, "-f", os.fspath(signers), "-s", file.name, content=content
        )
        if who.returncode:
            raise UserError(
                f"its signature is by nobody in {signers}: have it signed by one who is"
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
            f"its signature by {signer} does not fit it: it was changed, or signed for another use than nverb"
        )
    return signer


def sign(key: Path, content: int) -> str:
    """A signature of the file open as `content`; ssh-keygen may ask for the key's passphrase, or use the agent. Raises UserError."""
    os.lseek(content, 0, os.SEEK_SET)
    done = subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", os.fspath(key)],
        stdin=content,
        capture_output=True,
        check=False,
    )
    text = done.stdout.decode(errors="replace")
    if done.returncode or BEGIN not in text:
        why = " ".join(done.stderr.decode(errors="replace").split()) or "no signature came out"
        raise UserError(f"{key}: cannot sign with it: {why}")
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
            "signatures are required here and ssh-keygen is missing: sudo apt-get install openssh-client"
        ) from None
    except subprocess.TimeoutExpired:
        raise UserError("ssh-keygen did not answer within a minute") from None
