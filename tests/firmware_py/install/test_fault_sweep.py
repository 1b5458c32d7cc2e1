"""The installer under faults, see faults/sweep.py. `make acceptance-push` runs the full sweep."""

import re
import subprocess
import sys
from pathlib import Path

SWEEP = Path(__file__).parent / "faults" / "sweep.py"


def test_fault_at_any_call_leaves_old_or_new_state() -> None:
    done = subprocess.run(
        [sys.executable, SWEEP, "--quick"], capture_output=True, text=True, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+) points, 0 wrong", done.stdout)
    assert found and int(found[1]) > 50
    assert (
        "plays old" in done.stdout and "plays new" in done.stdout
    )  # faults on both sides of the switch
    assert "sounds as old" in done.stdout and "sounds as new" in done.stdout  # with complete pedals
