"""Dense networks with int8 weights and int16 values, computed without a TFLite runtime.

Where there is none (32-bit ARM with Python 3.12 or newer), the shipped decoder and encoder run
here. `nverb model train` makes such networks: a chain of

    QUANTIZE, then for each layer FULLY_CONNECTED, SUB and perhaps LOGISTIC and MUL, then DEQUANTIZE

(swish is z times its sigmoid). The arithmetic is in C (dsp/dense.c), rounds as TFLite does, and
differs from it by a step of int16 in some sigmoids. A real factor is an integer of 31 bits and a
shift there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dsp import _engine
from models.flatbuffer import NetworkGraph, NotRead, Operator, Tensor, read_graph

Floats = NDArray[np.float32]
Pair = tuple[int, int]

DEQUANTIZE, FULLY_CONNECTED, LOGISTIC, MUL, SUB, QUANTIZE = 6, 9, 14, 18, 41, 114
"""Of TFLite's BuiltinOperator."""
SUB_BITS = 15
"""SUB has this many more bits inside."""
SIGMOID_STEPS = 3 * 4096
"""Of the table of LOGISTIC, for each unit."""


class Integers:
    """Computes one network. Raises NotRead if it is another kind of network or damaged.

    `scales` and `layers`: see `_engine.Dense`; `nverb bench rooms` counts with them.
    """

    def __init__(self, network: bytes) -> None:
        chain = _Chain(read_graph(network))
        entry = chain.take(QUANTIZE).inputs
        in_scale = _scale(chain.at())
        with np.errstate(all="ignore"):  # what is not finite is rejected
            self.layers = tuple(_layers(chain))
        out_scale = _scale(chain.at())
        self.scales = in_scale, out_scale
        chain.take(DEQUANTIZE)
        chain.end(entry)
        try:
            self._dense = _engine.Dense(in_scale, out_scale, self.layers)
        except (ValueError, TypeError, OverflowError) as error:
            raise NotRead(f"the network is no dense network of integers: {error}") from None

    @property
    def inputs(self) -> int:
        return self._dense.inputs

    @property
    def outputs(self) -> int:
        return self._dense.outputs

    def __call__(self, values: Floats) -> Floats:
        """(inputs,) -> (outputs,)."""
        out = np.empty(self.outputs, np.float32)
        self._dense(np.ascontiguousarray(values, np.float32), out)
        return out


class _Chain:
    """The operators of a graph, each of which works on the result of the one before."""

    def __init__(self, graph: NetworkGraph) -> None:
        self._graph, self._next, self._now = graph, 0, -1

    def is_next(self, code: int) -> bool:
        operators = self._graph.operators
        return self._next < len(operators) and operators[self._next].code == code

    def take(self, code: int, *, also: int | None = None) -> Operator:
        """The next operator. `also`: the number of a tensor that it works on beside the result."""
        if not self.is_next(code):
            raise NotRead("the network is not a chain of dense layers")
        operator = self._graph.operators[self._next]
        expected = [] if self._next == 0 else [self._now] if also is None else [also, self._now]
        if operator.inputs[: len(expected)] != expected or len(operator.outputs) != 1:
            raise NotRead("the operators of the network are not a chain")
        if operator.activation:
            raise NotRead("the network has fused activations")
        self._now = operator.outputs[0]
        self._next += 1
        return operator

    @property
    def now(self) -> int:
        """The number of the tensor that the last operator made."""
        return self._now

    def at(self, number: int | None = None) -> Tensor:
        """A tensor; without a number the one that the last operator made."""
        return self._graph.tensors[self._now if number is None else number]

    def end(self, entry: list[int]) -> None:
        """Nothing follows, and the graph has these ends, of float32."""
        graph = self._graph
        ends = (graph.inputs, graph.outputs) == (entry, [self._now]) and len(entry) == 1
        kinds = {graph.tensors[number].kind for number in [*entry, self._now]}
        if self._next != len(graph.operators) or not ends or kinds != {"<f4"}:
            raise NotRead("the network is more than a chain of dense layers")


def _layers(chain: _Chain) -> Iterator[_engine.DenseLayer]:
    while chain.is_next(FULLY_CONNECTED):
        before = _scale(chain.at())
        operator = chain.take(FULLY_CONNECTED)
        given = [chain.at(number) for number in operator.inputs[1:] if number != -1]
        weights, bias = _constant(given[:1], "i1", 2), None
        if len(given) == 2:
            bias = _constant(given[1:], "i8", 1)
        if len(given) > 2 or not _is_row(chain.at(), len(weights)):
            raise NotRead("the network has a dense layer of an unknown form")
        own = given[0].scale
        if len(own) not in (1, len(weights)):
            raise NotRead("the network has a dense layer without scales")
        after = _scale(chain.at())
        own = np.resize(own, len(weights)).astype(np.float64)
        factor, shift = _factors(np.asarray(before * own / after, np.float64))
        less, ends = _difference(chain, len(weights))
        swish = _swish(chain) if chain.is_next(LOGISTIC) else None
        yield (weights, bias, factor, shift, less, ends, swish)


def _difference(chain: _Chain, rows: int) -> tuple[NDArray[np.int32], tuple[int, int, int, int]]:
    """What SUB subtracts, in its own units, and the factors before and after."""
    first = _scale(chain.at())
    operator = chain.take(SUB)
    given = [chain.at(number) for number in operator.inputs[1:]]
    values = _constant(given, "i2", 1)
    second, result = _scale(given[0]), _scale(chain.at())
    if len(values) != rows or not _is_row(chain.at(), rows):
        raise NotRead("the network has a difference of another form than its layer")
    unit = 2 * max(first, second)
    factor, shift = _factor(second / unit)
    less = _scaled_twice(values.astype(np.int64) << SUB_BITS, factor, shift).astype(np.int32)
    before, after = _factor(first / unit), _factor(unit / ((1 << SUB_BITS) * result))
    return less, (*before, *after)


def _swish(chain: _Chain) -> tuple[int, int, int, int]:
    z = chain.now
    step = _scale(chain.at())
    chain.take(LOGISTIC)
    half = _scale(chain.at())
    chain.take(MUL, also=z)
    steps, bits = step * SIGMOID_STEPS, 0
    while steps <= 32767 / 2 and bits <= 30:
        steps, bits = 2 * steps, bits + 1
    return (int(steps), bits, *_factor(step * half / _scale(chain.at())))


def _is_row(tensor: Tensor, length: int) -> bool:
    return tensor.kind == "<i2" and tensor.shape == (1, length)


def _constant(given: list[Tensor], kind: str, dimensions: int) -> NDArray[np.generic]:
    values = given[0].values if given else None
    if values is None or values.dtype != np.dtype(kind) or values.ndim != dimensions:
        raise NotRead(f"the network has a layer whose constants are not {kind}")
    return values


def _scale(tensor: Tensor) -> float:
    """Of an int16 tensor."""
    if tensor.kind != "<i2" or len(tensor.scale) != 1 or not 0 < tensor.scale[0] < math.inf:
        raise NotRead("the network has values that are not int16 with one scale")
    return float(tensor.scale[0])


def _factors(real: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Real factors as factor / 2**31 * 2**shift."""
    if not (np.isfinite(real) & (real >= 0)).all():
        raise NotRead("the network has a scale that is not finite")
    mantissa, shift = np.frexp(real)
    factor = np.floor(mantissa * 2.0**31 + 0.5)
    rounded_up = factor == 2.0**31
    factor, shift = np.where(rounded_up, factor / 2, factor), shift + rounded_up
    return np.where(shift < -31, 0, factor).astype(np.int32), np.maximum(shift, -31).astype("i4")


def _factor(real: float) -> Pair:
    factor, shift = _factors(np.array([real]))
    return int(factor[0]), int(shift[0])


def _scaled_twice(values: NDArray[np.int64], factor: int, shift: int) -> NDArray[np.int64]:
    """As in dsp/dense.c: the rounding of TFLite's sums, of a factor below 1."""
    product = values * factor
    high = (np.abs(product) + (1 << 30) - (product < 0)) >> 31
    high = np.where(product < 0, -high, high)
    if shift >= 0:
        return high
    mask = (1 << -shift) - 1
    return np.asarray((high >> -shift) + ((high & mask) > (mask >> 1) + (high < 0)))
