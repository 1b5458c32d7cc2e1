"""The shipped model: size, accuracy, the meaning of its axes; and the bank that replaces it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from bank.format import Bank
from dsp import acoustics
from dsp.synthesis import Synthesiser
from firmware_py.rooms.source import find_source
from models import container, evaluate, generator, measures
from models.container import GOLDEN_TOLERANCE, NoRuntime
from models.decoder import SHIPPED, Decoder, Encoder

RATE_HZ = 48_000


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder.open()


def test_shipped_decoder_is_int8_small_and_accurate() -> None:
    about = container.read(SHIPPED / "decoder.nvmodel").description
    assert about.kind == "rooms" and about.quantisation.startswith("int8")
    assert (SHIPPED / "decoder.nvmodel").stat().st_size <= 1_000_000
    assert about.figures["mean_error_db"] <= 0.05
    assert (about.inputs, about.duration_s, about.highest_hz) == (8, 4.0, 20_000.0)
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= 12_000_000


@pytest.mark.parametrize("name", ["decoder", "encoder"])
def test_installed_runtime_reproduces_golden_vectors(name: str) -> None:
    model = container.read(SHIPPED / f"{name}.nvmodel")
    network = container.Network(model, name)
    spread = np.ptp(model.golden_outputs)
    for given, expected in zip(model.golden_inputs, model.golden_outputs, strict=True):
        assert (
            np.abs(network(given)[model.golden_index] - expected).mean()
            <= GOLDEN_TOLERANCE * spread
        )


def test_axes_correlate_with_their_quantities(decoder: Decoder) -> None:
    """Along random lines through the cube: the quantities of X, Y and Z; along X also T30 of the
    IR.
    """
    random = np.random.default_rng(11)
    for _ in range(6):
        begin, end = random.uniform(-2, 2, (2, 3))
        points = begin + (end - begin) * np.linspace(0, 1, 12)[:, None]
        rooms = [decoder.energy_map(*map(float, point)) for point in points]
        quantities = measures.knobs(
            *measures.unpack(np.concatenate([measures.pack_map(room) for room in rooms]))
        )
        for axis in range(3):
            if abs(end[axis] - begin[axis]) > 1.0:
                assert scipy.stats.spearmanr(points[:, axis], quantities[:, axis]).statistic >= 0.9
    points = np.linspace(-1.8, 1.8, 9)
    synthesise = Synthesiser(RATE_HZ)
    times = [
        np.nanmean(
            acoustics.measure(
                synthesise(decoder.energy_map(float(x), 0.2, 1.0), width=0.0)[0], RATE_HZ, start=0
            ).t30_s[3:6]
        )
        for x in points
    ]
    assert scipy.stats.spearmanr(points, times).statistic >= 0.9
    assert times[0] < 0.5 and times[-1] > 3.0


def test_held_out_rooms_are_reproduced(decoder: Decoder) -> None:
    codec = evaluate.OwnCodec(decoder, Encoder.open())
    (result,) = evaluate.evaluate(
        evaluate.held_out(generator.draw(6, generator.HELD_OUT_SEED + 5)), [codec], "held-out"
    )
    edc, t30, _, c50, _ = result.overall()
    # Six rooms are few. The limits for many rooms (0.7 dB, 3 %, 1.1 dB): `nverb model eval`.
    assert edc < 1.2 and t30 < 5.0 and c50 < 1.5


def test_without_runtime_the_decoder_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    assert isinstance(find_source(), Decoder)


def test_a_decoder_that_cannot_run_gives_way_to_the_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_runtime(*_: object) -> None:
        raise NoRuntime("no TFLite runtime here")

    monkeypatch.setattr(container, "_runtime", no_runtime)
    lines: list[str] = []
    source = find_source(say=lines.append)
    assert isinstance(source, Bank)
    assert len(lines) == 1 and "no TFLite runtime" in lines[0] and source.path.name in lines[0]


def test_shipped_bank_matches_shipped_decoder(decoder: Decoder) -> None:
    bank = Bank.open(SHIPPED / "rooms.nvbank")
    bank.verify()
    axis = np.linspace(bank.low, bank.high, bank.steps)
    for x, y, z in ((0, 0, 0), (3, 7, 5), (9, 2, 8)):
        point = tuple(float(axis[min(i, bank.steps - 1)]) for i in (x, y, z))
        wanted, found = (measures.pack_map(source.energy_map(*point)) for source in (decoder, bank))
        heard = wanted > wanted.max() - 80
        assert np.abs(wanted - found)[heard].max() < 0.3  # half a step of the bank's 0.5 dB


def test_default_source_is_the_shipped_decoder() -> None:
    source = find_source(say=pytest.fail)
    assert isinstance(source, Decoder) and Path(SHIPPED / "decoder.nvmodel").exists()
