"""The page for ears: its sounds, its level, what the blind test may not tell."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dsp.loudness import of_samples
from firmware_py.desk.listen import KINDS, Recorded, low_passed, matched, write_page
from models.decoder import Decoder, Encoder, ModelError
from models.measures import RATE_HZ


def decaying(t60_s: float, channels: int) -> np.ndarray:
    time = np.arange(int(t60_s * RATE_HZ)) / RATE_HZ
    noise = np.random.default_rng(1).standard_normal((channels, len(time)))
    return (noise * 10 ** (-3 * time / t60_s)).astype(np.float32)


def test_anchor_has_no_treble_and_versions_are_equally_loud() -> None:
    """1 kHz within 0.1 dB, 8 kHz 40 dB down. Of a click the loudness is that of the IR, which
    `of_samples` measures: equal within 0.1 dB, whatever levels came in."""
    ir = decaying(0.5, 2)
    power = [np.abs(np.fft.rfft(each[0])) ** 2 for each in (ir, low_passed(ir))]
    hz = np.fft.rfftfreq(ir.shape[1], 1 / RATE_HZ)
    for low, high, most in ((700, 1400, 0.1), (6000, 12000, -40)):
        band = (hz > low) & (hz < high)
        off = 10 * np.log10(power[1][band].sum() / power[0][band].sum())
        assert off < most and (most < 0 or off > -0.1)
    irs = {"original": 30 * ir, "encoded": 0.01 * decaying(1.5, 2), "anchor": low_passed(ir)}
    click = np.eye(1, 480, dtype=np.float32)[0]
    sounds = matched(irs, click)
    levels = [10 * np.log10(of_samples(sound.T, RATE_HZ)) for sound in sounds.values()]
    assert np.ptp(levels) < 0.1
    assert len({len(sound) for sound in sounds.values()}) == 1
    assert max(np.abs(sound).max() for sound in sounds.values()) == pytest.approx(0.8)


def test_page_has_four_sounds_for_each_room_under_names_that_tell_nothing(tmp_path: Path) -> None:
    """A name from outside ends no script."""
    try:
        models = Decoder.open(), Encoder.open()
    except (ModelError, OSError) as error:
        pytest.skip(f"no decoder runs here: {error}")
    rooms = [Recorded("</script> hall", decaying(0.3, 1)), Recorded("b", decaying(0.2, 2))]
    clip = np.eye(1, 4800, dtype=np.float32)[0]
    assert write_page(tmp_path / "page", rooms, clip, *models) == 2
    page = (tmp_path / "page" / "index.html").read_text()
    assert page.count("</script>") == 1
    found = re.search(r"const trials = (.*), kinds = ", page)
    assert found is not None
    trials = json.loads(found[1])
    assert [trial["room"] for trial in trials] == ["</script> hall", "b"]
    for trial, is_mono in zip(trials, (True, False), strict=True):
        assert set(trial["files"]) == set(KINDS)
        for kind, name in trial["files"].items():
            assert kind not in name
            sound, rate_hz = soundfile.read(tmp_path / "page" / name)
            assert rate_hz == RATE_HZ and sound.shape[1] == 2 and np.abs(sound).max() <= 0.81
            assert np.allclose(sound[:, 0], sound[:, 1], atol=1e-3) == is_mono
