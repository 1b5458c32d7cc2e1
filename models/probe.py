"""Opens a model file in a child process first.

A network with a valid checksum can still crash the runtime (5 of 1500 changed copies of one decoder
did, with SIGSEGV), run for ever or allocate all memory. That must end a child, not the pedal.

`python -m models.probe` is the child. It reads a model file from stdin, runs its golden vectors and
exits with 0, even if an error was raised: the parent gets that error when it opens the file itself.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import subprocess
import sys
from pathlib import Path

from models import container
from models.reading import open_regular

SECONDS, MEMORY = 30, 2 << 30


def prove(path: Path) -> None:
    """Raises ModelError if opening the model at `path` crashes a child, hangs or takes all memory.

    Raises OSError if the file cannot be read. Takes some tenths of a second on a desktop. If no
    child can be started, the check is skipped.
    """
    with open(open_regular(path), "rb") as file:
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "models.probe"],
                stdin=file,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=2 * SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise container.ModelError(
                f"{path}: its network does not finish: do not use it"
            ) from None
        except OSError:
            return
    if done.returncode < 0:
        how = signal.Signals(-done.returncode).name
        raise container.ModelError(
            f"{path}: its network crashes TFLite ({how}): damaged or malicious, do not use it"
        )


def main() -> int:
    """The child process."""
    limits = (
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CORE, 0),
    )
    for limit, value in limits:
        with contextlib.suppress(ValueError, OSError):  # a lower limit is already set
            resource.setrlimit(limit, (value, value))
    try:
        data = sys.stdin.buffer.read(container.MAX_FILE + 1)
        container.Network(container.parse(data, "the model"), "the model")
    except container.ModelError:
        pass
    except MemoryError:
        signal.raise_signal(signal.SIGKILL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
