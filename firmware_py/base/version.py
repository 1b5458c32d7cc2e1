"""The installed versions, by the names of the folders that pip and Debian put beside a package.

`importlib.metadata` knows them, too, but reads mail to do so: a quarter of the time of `nverb
status` on a small board.
"""

from __future__ import annotations

import contextlib
import os
import sys


def version() -> str:
    """The installed version of nverb."""
    return version_of("nverb") or "unknown (not installed)"


def version_of(package: str) -> str:
    """The installed version of a package; "" if it is not installed."""
    start = package.replace("-", "_") + "-"
    for folder in sys.path:
        with contextlib.suppress(OSError):
            for name in os.listdir(folder or "."):
                stem, dot, kind = name.rpartition(".")
                if dot and kind in ("dist-info", "egg-info") and stem.startswith(start):
                    return stem.removeprefix(start).partition("-")[0]
    return ""
