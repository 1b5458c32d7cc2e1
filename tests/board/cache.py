"""What is expensive to make, kept between runs: one folder for each thing, named after what it was made from.

The folder is $NVERB_ACCEPTANCE_CACHE, or ~/.cache/nverb-acceptance. A thing is built beside its place and renamed when it is
whole, so an interrupted run leaves nothing half made; two runs that want the same thing wait for one another.
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
    """Something outside of nverb stops the run: a missing tool, a mirror that does not answer. One line, with the remedy."""


def folder() -> Path:
    path = Path(
        os.environ.get("NVERB_ACCEPTANCE_CACHE") or Path.home() / ".cache" / "nverb-acceptance"
    )
    path.mkdir(parents=True, exist_ok=True)
    return path


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def digest(*parts: object) -> str:
    """12 hexadecimal digits that name these values; a Path counts by its content."""
    state = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            state.update(hashlib.sha256(part.read_bytes()).digest())
        else:
            state.update(repr(part).encode())
    return state.hexdigest()[:12]


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Only one at a time is in here with this name, of all threads and runs."""
    with open(folder() / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made(name: str, parts: Iterable[object], make: Callable[[Path], object]) -> Path:
    """The folder NAME-DIGEST; `make` fills it if it is not there. Older ones of the same name are removed then."""
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
    """Removes a folder that may hold a whole system. Never follows it into another file system."""
    if path.exists():
        subprocess.run(["rm", "-rf", "--one-file-system", path], check=True)


def run(command: list[str | Path], *, what: str, tries: int = 1, **options: object) -> str:
    """Runs a tool and returns what it wrote; `what` names the step in the error. `tries`: for what needs the network."""
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
        f"{what} failed (status {done.returncode}): {' / '.join(last)} (all of it in {log})"
    )
