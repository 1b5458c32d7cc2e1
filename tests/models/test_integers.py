"""Networks computed without a TFLite runtime, compared with TFLite."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest
from dense_model import network as float_network

from models import container, measures
from models.container import Network, NoRuntime
from models.decoder import SHIPPED, Decoder, Encoder
from models.flatbuffer import NotRead
from models.integers import Integers

EDGE = 6000
"""Bytes at either end of a network: mostly structure, not weights."""


@pytest.fixture
def no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)


def test_decoder_equals_tflite() -> None:
    """At drawn latents: mean 0.01 dB, worst 0.1 dB."""
    model = container.read(SHIPPED / "decoder.nvmodel")
    tflite, own = Network(model, "decoder"), Integers(model.network)
    assert (own.inputs, own.outputs) == (8, 8256)
    points = np.random.default_rng(3).uniform(-2, 2, (24, 8)).astype(np.float32)
    off = np.array([own(point) - tflite(point) for point in points])
    assert np.abs(off).mean() <= 0.01
    assert np.abs(off).max() <= 0.1


def test_encoder_equals_tflite() -> None:
    """Of decoded rooms: latents within 0.01."""
    model = container.read(SHIPPED / "encoder.nvmodel")
    tflite, own, decoder = Network(model, "encoder"), Integers(model.network), Decoder.open()
    for point in np.random.default_rng(4).uniform(-2, 2, (12, 8)).astype(np.float32):
        heard = measures.pooled_db(*measures.unpack(decoder.decode(point)[None]))[0]
        assert np.abs(own(heard) - tflite(heard)).max() <= 0.01


@pytest.mark.usefixtures("no_runtime")
def test_shipped_models_open_without_runtime() -> None:
    assert np.isfinite(Decoder.open().energy_map(0.3, -1.0, 1.2).level_db).all()
    Encoder.open()


@pytest.mark.usefixtures("no_runtime")
def test_networks_of_floats_need_a_runtime(tmp_path: Path) -> None:
    model = container.read(SHIPPED / "decoder.nvmodel")
    floats = float_network(np.ones((8, 8256), np.float32), np.zeros(8256, np.float32))
    changed = container.ModelFile(
        model.description, floats, model.golden_inputs, model.golden_index, model.golden_outputs
    )
    with pytest.raises(NoRuntime, match=r"no TFLite runtime.*chain of dense layers"):
        Network(changed, "floats")


@pytest.mark.parametrize("name", ["decoder", "encoder"])
def test_damaged_networks_are_rejected_or_computed(name: str) -> None:
    """Mutated at 1 to 5 places, and cut off: NotRead, or numbers."""
    good = container.read(SHIPPED / f"{name}.nvmodel").network
    values = np.zeros(Integers(good).inputs, np.float32)
    rejected = 0
    for seed in range(400):
        chance = random.Random(seed)
        made = bytearray(good)
        for _ in range(chance.randint(1, 5)):
            place = chance.randrange(EDGE)
            at = place if chance.random() < 0.5 else len(made) - 1 - place
            made[at] = chance.choice([0, 1, 0xFF, made[at] ^ 1 << chance.randrange(8)])
        data = bytes(made[: chance.randrange(len(made))] if seed % 8 == 0 else made)
        try:
            network = Integers(data)
        except NotRead:
            rejected += 1
            continue
        if network.inputs == len(values):
            assert np.isfinite(network(values)).sum() >= 0
    assert rejected > 50
    for data in (b"", b"\0" * 3, good[:8], b"\xff" * 64):
        with pytest.raises(NotRead):
            Integers(data)
