"""The repair of the plug-in's pictures."""

from __future__ import annotations

import numpy as np

from models import reference


def test_repair_changes_only_the_blip() -> None:
    rng = np.random.default_rng(4)
    clean = np.linspace(0.9, 0.4, 128) + 0.005 * rng.standard_normal((513, 128))
    spoilt = clean.copy()
    spoilt[reference.BLIP_BINS, reference.BLIP_FRAMES] += 0.3
    got = reference.repair(spoilt.astype(np.float32), 120.0)
    assert 120 * np.abs(got - clean)[reference.BLIP_BINS, reference.BLIP_FRAMES].mean() < 1.5
    untouched = np.ones((513, 128), bool)
    untouched[reference.BLIP_BINS, reference.BLIP_FRAMES] = False
    np.testing.assert_array_equal(got[untouched], spoilt.astype(np.float32)[untouched])
