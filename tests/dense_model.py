"""Model files of one dense layer, written with TFLite's schema instead of TensorFlow."""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from models import container, export, reference
from models.container import ModelFile

Floats = NDArray[np.float32]


def network(kernel: Floats, bias: Floats) -> bytes:
    """The TFLite file of `values @ kernel + bias`; kernel (inputs, outputs), bias (outputs,)."""
    inputs, outputs = kernel.shape
    arrays = [None, None, np.ascontiguousarray(kernel.T, "<f4"), bias.astype("<f4")]
    tensors = [
        ("values", [1, inputs]),
        ("answers", [1, outputs]),
        ("kernel", [outputs, inputs]),
        ("bias", [outputs]),
    ]

    layer = schema.OperatorT()
    layer.inputs, layer.outputs = [0, 2, 3], [1]
    layer.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    layer.builtinOptions = schema.FullyConnectedOptionsT()

    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [], [0], [1], [layer]
    model = schema.ModelT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    model.operatorCodes = [schema.OperatorCodeT()]
    model.operatorCodes[0].builtinCode = schema.BuiltinOperator.FULLY_CONNECTED
    model.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    model.operatorCodes[0].version = 1
    for (name, shape), array in zip(tensors, arrays, strict=True):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = (
            name,
            shape,
            schema.TensorType.FLOAT32,
            0,
        )
        if array is not None:
            tensor.buffer = len(model.buffers)
            buffer = schema.BufferT()
            buffer.data = array.reshape(-1).view(np.uint8)
            model.buffers.append(buffer)
        graph.tensors.append(tensor)
    builder = flatbuffers.Builder(kernel.nbytes + bias.nbytes + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def write(
    path: Path,
    kernel: Floats,
    bias: Floats,
    probes: Floats,
    *,
    name: str = "dense",
    kind: str = "plug-in",
    golden: int = 2,
    golden_outputs: int = 512,
) -> ModelFile:
    """A model file around this layer; golden vectors from `probes` (n, inputs)."""
    attempt = export.Attempt("float32", network(kernel, bias), 0.0, 0.0)
    file = export.model_file(
        name,
        kind,
        attempt,
        probes.astype(np.float32),
        reference.GRID,
        outputs=kernel.shape[1],
        db_range=120.0,
        repaired=kind == "plug-in",
        golden=golden,
        golden_outputs=golden_outputs,
    )
    container.write(path, file)
    return file


def write_rooms(path: Path, seed: int = 1) -> None:
    """A plug-in model of 1.1 MB: x sets the decay, y the brightness, with some noise."""
    bins, frames = reference.BINS, reference.FRAMES
    rng = np.random.default_rng(seed)
    time, height = np.arange(frames) / frames, np.arange(bins)[:, None] / bins
    centre = 0.95 - 0.8 * time - 0.2 * height * time + 0.01 * rng.standard_normal((bins, frames))
    slopes = np.stack(
        [
            0.15 * time + 0 * height,
            -0.1 * height + 0 * time,
            0.02 * rng.standard_normal((bins, frames)),
        ]
    )
    write(path, slopes.reshape(3, -1), centre.ravel(), rng.uniform(-2, 2, (4, 3)), name="small")
