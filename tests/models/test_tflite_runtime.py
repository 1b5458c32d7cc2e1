"""The same model file under tflite-runtime, in a separate virtual environment.

tflite-runtime needs NumPy 1 and Python 3.11 or older. Part of `make acceptance-all`; `make test`
runs the golden vectors under the installed runtime.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from models.decoder import Decoder

ROOT = Path(__file__).parents[2]
POINTS = np.random.default_rng(0).uniform(-2, 2, (24, 8)).round(3).tolist()
PROGRAM = f"""
import json
from models import container
from models.decoder import Decoder, Encoder
import tflite_runtime
Encoder.open()  # runs its golden vectors
decoder = Decoder.open()  # and so does this
print(json.dumps([decoder.decode(point).tolist() for point in {POINTS}]))
"""


@pytest.mark.skipif(
    not os.environ.get("NVERB_TEST_TFLITE"), reason="long: `make acceptance-models` runs it"
)
def test_tflite_runtime_matches_ai_edge_litert(tmp_path: Path) -> None:
    python = next(
        (
            found
            for name in ("python3.11", "python3.10", "python3.9")
            if (found := shutil.which(name))
        ),
        None,
    )
    if python is None:
        pytest.fail("tflite-runtime needs Python 3.11 or older: install python3.11")
    subprocess.run([python, "-m", "venv", tmp_path / "old"], check=True)
    subprocess.run(
        [tmp_path / "old/bin/pip", "install", "-q", "numpy<2", "tflite-runtime"], check=True
    )
    done = subprocess.run(
        [tmp_path / "old/bin/python", "-c", PROGRAM],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    decoder = Decoder.open()
    here = np.array([decoder.decode(point) for point in POINTS])
    assert np.abs(np.array(json.loads(done.stdout)) - here).mean() <= 0.05  # dB
