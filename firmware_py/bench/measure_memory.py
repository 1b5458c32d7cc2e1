"""How much memory a measurement takes: in a process of its own, `python -m
firmware_py.bench.measure_memory FOLDER`, whose loop plays takes of a folder."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_py.base.process import module_command
from firmware_py.jack.defaults import RATE_HZ

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from firmware_py.measure.loop import Loop
    from firmware_py.measure.measurement import Measurement

    Floats = NDArray[np.float32]

SWEEP_S = 12.0


class KeptTakes:
    """A loop whose takes are files: those of another loop, kept, or played again without it."""

    rate_hz = RATE_HZ

    def __init__(self, folder: Path, loop: Loop | None) -> None:
        self._folder, self._loop, self._number = folder, loop, 0

    def take(self, sound: Floats) -> Floats:
        """See `firmware_py.measure.loop.Loop`."""
        import numpy as np

        self._number += 1
        path = self._folder / f"{self._number}.npy"
        if self._loop is not None:
            np.save(path, self._loop.take(sound))
        heard: Floats = np.load(path)
        return heard


def peak_mib(loop: Loop) -> float:
    """The largest resident memory of a process that measures what a loop plays."""
    with tempfile.TemporaryDirectory(prefix="nverb-bench-") as folder:
        _listened(KeptTakes(Path(folder), loop))
        command = [*module_command("firmware_py.bench.measure_memory"), folder]
        return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def _listened(loop: Loop) -> Measurement:
    from firmware_py.measure.measurement import Measurement, Wanted

    wanted = Wanted(((0,),), 1, sweep_s=SWEEP_S, level_db=-40.0)
    measurement = Measurement(loop, wanted, lambda _: None)
    measurement.listen()
    return measurement


def main() -> None:
    """Measure, and print the peak of this process in MiB."""
    from firmware_py.base.memory import return_freed_memory

    return_freed_memory()
    _listened(KeptTakes(Path(sys.argv[1]), None)).result()
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(int(found.group(1)) / 1024 if found else 0.0)


if __name__ == "__main__":
    main()
