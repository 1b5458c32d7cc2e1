"""Reads the parts of a TFLite file that `models.integers` needs: a FlatBuffer without its library.

Every position is checked: a damaged file raises NotRead, nothing else. Fields are counted as in
TFLite's schema (schema.fbs, version 3).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsp.errors import InvalidValue

MOST = 4096
"""Tensors, operators or dimensions; a network that is computed here has fewer."""


class NotRead(InvalidValue):
    """Not a TFLite file, or one with parts that are not supported."""


class Table:
    """A table of a FlatBuffer."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        self._fields = at - self.number("<i", at)
        self._size = self.number("<H", self._fields)

    def number(self, form: str, at: int) -> int:
        """The integer at a position of the file."""
        if not 0 <= at <= len(self._data) - struct.calcsize(form):
            raise NotRead("the network is cut off")
        return int(struct.unpack_from(form, self._data, at)[0])

    def _field(self, field: int) -> int:
        """The position of a field; 0 if it has its default."""
        entry = 4 + 2 * field
        if entry + 2 > self._size:
            return 0
        offset = self.number("<H", self._fields + entry)
        return self._at + offset if offset else 0

    def integer(self, field: int, form: str = "<i", default: int = 0) -> int:
        at = self._field(field)
        return self.number(form, at) if at else default

    def _pointed(self, at: int) -> int:
        return at + self.number("<I", at)

    def table(self, field: int) -> Table | None:
        at = self._field(field)
        return Table(self._data, self._pointed(at)) if at else None

    def _vector(self, field: int, bytes_each: int) -> tuple[int, int]:
        """Where a vector begins, and its length."""
        at = self._field(field)
        if not at:
            return 0, 0
        start = self._pointed(at)
        length = self.number("<I", start)
        if length * bytes_each > len(self._data) - start - 4:
            raise NotRead("the network is cut off")
        return start + 4, length

    def tables(self, field: int) -> list[Table]:
        start, length = self._vector(field, 4)
        if length > MOST:
            raise NotRead(f"the network has {length} parts of a kind, more than {MOST}")
        places = range(start, start + 4 * length, 4)
        return [Table(self._data, self._pointed(at)) for at in places]

    def array(self, field: int, form: str) -> NDArray[np.generic]:
        """A vector of numbers."""
        kind = np.dtype(form)
        start, length = self._vector(field, kind.itemsize)
        return np.frombuffer(self._data, kind, length, start)

    def integers(self, field: int) -> list[int]:
        """A short vector of int32."""
        found = self.array(field, "<i4")
        if len(found) > MOST:
            raise NotRead(f"the network has a list of {len(found)} numbers, more than {MOST}")
        return [int(value) for value in found]


_TYPES = {0: "<f4", 2: "<i4", 4: "<i8", 7: "<i2", 9: "<i1"}


@dataclass(frozen=True)
class Tensor:
    """`scale`: of an integer's step, for all or for each row; all zero points are 0. `values`: of a
    constant tensor; None for one that is computed."""

    shape: tuple[int, ...]
    kind: str
    scale: NDArray[np.float32]
    values: NDArray[np.generic] | None


@dataclass(frozen=True)
class Operator:
    """`code`: of TFLite's BuiltinOperator. `activation`: fused into it; 0 is none. `inputs`,
    `outputs`: numbers of tensors; -1 is one that is left out."""

    code: int
    inputs: list[int]
    outputs: list[int]
    activation: int


@dataclass(frozen=True)
class NetworkGraph:
    """The only graph of a network; the operators are in the order in which they run."""

    tensors: list[Tensor]
    operators: list[Operator]
    inputs: list[int]
    outputs: list[int]


def read_graph(network: bytes) -> NetworkGraph:
    """Raises NotRead."""
    model = Table(network, int.from_bytes(network[:4], "little"))
    graphs, buffers = model.tables(2), model.tables(4)
    if len(graphs) != 1:
        raise NotRead(f"the network has {len(graphs)} graphs, not one")
    (graph,) = graphs
    codes = [max(code.integer(0, "<b"), code.integer(3)) for code in model.tables(1)]
    tensors = [_tensor(table, buffers) for table in graph.tables(0)]
    operators = [_operator(table, codes) for table in graph.tables(3)]
    numbers = [*graph.integers(1), *graph.integers(2)]
    for operator in operators:
        numbers += [number for number in operator.inputs if number != -1] + operator.outputs
    if not all(0 <= number < len(tensors) for number in numbers):
        raise NotRead("the network has operators on tensors that it does not have")
    return NetworkGraph(tensors, operators, graph.integers(1), graph.integers(2))


def _tensor(table: Table, buffers: list[Table]) -> Tensor:
    shape, kind = tuple(table.integers(0)), _TYPES.get(table.integer(1, "<b"))
    if kind is None:
        raise NotRead("the network has numbers of a type that is not supported")
    scale = np.zeros(0, np.float32)
    if quantisation := table.table(4):
        scale = quantisation.array(2, "<f4").astype(np.float32)
        if quantisation.array(3, "<i8").any():
            raise NotRead("the network has zero points other than 0")
    number = table.integer(2, "<I")
    if not 0 <= number < max(len(buffers), 1):
        raise NotRead("the network has a tensor whose buffer is missing")
    data = buffers[number].array(0, "<i1").tobytes() if buffers else b""  # aligned
    if not data:
        return Tensor(shape, kind, scale, None)
    size = math.prod(shape) * np.dtype(kind).itemsize
    if min(shape, default=1) < 0 or size != len(data):
        raise NotRead("the network has a tensor whose shape does not fit its values")
    values = np.frombuffer(data, kind).astype(kind[1:], copy=False)
    return Tensor(shape, kind, scale, values.reshape(shape))


def _operator(table: Table, codes: list[int]) -> Operator:
    number = table.integer(0, "<I")
    if not 0 <= number < len(codes):
        raise NotRead("the network has an operator of no kind")
    options = table.table(4)
    activation = options.integer(0, "<b") if options else 0
    return Operator(codes[number], table.integers(1), table.integers(2), activation)
