"""Cache of results that are expensive to make. Each has a folder, named after a hash of its inputs.

The cache is $NVERB_ACCEPTANCE_CACHE, or ~/.cache/nverb-acceptance. A result is built under a
temporary name and renamed when it is complete, so an interrupted run leaves no partial result. Of
two runs that need the same result, one waits for the other.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


class Trouble(Exception):
    """A cause outside nverb stops the run, such as a missing tool or a mirror that does not answer.

    The message is one line and contains the remedy.
    """


def folder() -> Path:
    path = Path(
        os.environ.get("NVERB_ACCEPTANCE_CACHE") or Path.home() / ".cache" / "nverb-acceptance"
    )
    path.mkdir(parents=True, exist_ok=True)
    return path


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def digest(*parts: object) -> str:
    """12 hexadecimal digits of a hash of these values; for a Path: of its content."""
    state = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            state.update(hashlib.sha256(part.read_bytes()).digest())
        else:
            state.update(repr(part).encode())
    return state.hexdigest()[:12]


@contextmanager
def alone(name: str) -> Iterator[None]:
    """A lock of this name, for all threads and runs."""
    with open(folder() / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made(name: str, parts: Iterable[object], make: Callable[[Path], object]) -> Path:
    """The folder NAME-DIGEST. If it does not exist, `make` fills it and older ones are removed."""
    path = folder() / f"{name}-{digest(*parts)}"
    with alone(name):
        if path.exists():
            return path
        begun = time.monotonic()
        say(f"making {name}")
        part = folder() / f".{name}.part"
        remove(part)
        part.mkdir()
        make(part)
        for old in folder().glob(f"{name}-" + "?" * 12):
            remove(old)
        part.rename(path)
        say(f"made {name} in {time.monotonic() - begun:.0f} s")
    return path


def remove(path: Path) -> None:
    """Remove a folder that may contain a complete system. Never enters another file system."""
    if path.exists():
        subprocess.run(["rm", "-rf", "--one-file-system", path], check=True)


def run(command: list[str | Path], *, what: str, tries: int = 1, **options: object) -> str:
    """Run a tool and return its output.

    `what`: the name of the step, for the error. `tries`: more than 1 if it needs the network.
    """
    words = [os.fspath(word) for word in command]
    if shutil.which(words[0]) is None:
        raise Trouble(
            f"{words[0]} is missing: make acceptance installs it (sudo apt-get install ...)"
        )
    for left in reversed(range(tries)):
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            **options,  # type: ignore[call-overload]
        )
        if done.returncode == 0:
            return str(done.stdout)
        if left:
            time.sleep(5)
    log = folder() / "failed.log"
    log.write_text(done.stdout)
    last = [line for line in done.stdout.splitlines() if line.strip()][-3:]
    raise Trouble(
        f"{what} failed (status {done.returncode}): {' / '.join(last)} (complete output: {log})"
    )
