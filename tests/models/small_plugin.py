"""Small networks of the plug-in's layout: HDF5 as Keras 2.1.5 wrote it, and their output in
NumPy.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

# Kernel, stride and padding of the eleven transposed convolutions; fewer filters than the
# plug-in has.
DECODER = [
    ((1, 1), (1, 1), "same", 24),
    *[((2, 2), (2, 2), "same", filters) for filters in (12, 8, 8, 6, 6, 6, 4)],
    ((2, 2), (2, 1), "same", 4),
    ((3, 1), (2, 1), "valid", 4),
    ((1, 1), (1, 1), "same", 1),
]
ENCODER = [
    ((5, 5), (2, 2), 4),
    *[((4, 4), (2, 2), filters) for filters in (4, 4, 6, 6, 6, 8, 8)],
    ((4, 4), (2, 1), 8),
    ((1, 1), (2, 1), 24),
    ((1, 1), (1, 1), 3),
]
SLOPE, EPSILON = 0.1, 1e-3

Array = NDArray[np.float64]


@dataclass
class Layer:
    name: str
    kind: str
    config: dict[str, Any]
    weights: dict[str, Array]


def write(
    path: Path,
    layers: list[Layer],
    input_shape: tuple[int, int, int],
    *,
    keras_version: str = "2.1.5",
) -> None:
    """Write a functional model in which each layer feeds the next."""
    described: list[dict[str, Any]] = [
        {
            "name": "input_1",
            "class_name": "InputLayer",
            "config": {
                "batch_input_shape": [None, *input_shape],
                "dtype": "float32",
                "sparse": False,
                "name": "input_1",
            },
            "inbound_nodes": [],
        }
    ]
    for layer in layers:
        before = described[-1]["name"]
        described.append(
            {
                "name": layer.name,
                "class_name": layer.kind,
                "config": {"name": layer.name, "trainable": True, **layer.config},
                "inbound_nodes": [[[before, 0, 0, {}]]],
            }
        )
    config = {
        "class_name": "Model",
        "config": {
            "name": "model_1",
            "layers": described,
            "input_layers": [["input_1", 0, 0]],
            "output_layers": [[layers[-1].name, 0, 0]],
        },
    }
    with h5py.File(path, "w") as file:
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", keras_version.encode()
        file.attrs["model_config"] = json.dumps(config).encode()
        root = file.create_group("model_weights")
        root.attrs["backend"], root.attrs["keras_version"] = b"tensorflow", keras_version.encode()
        root.attrs["layer_names"] = [b"input_1", *(layer.name.encode() for layer in layers)]
        root.create_group("input_1").attrs["weight_names"] = np.array([], "S")
        for layer in layers:
            group = root.create_group(layer.name)
            names = [f"{layer.name}/{weight}:0" for weight in layer.weights]
            group.attrs["weight_names"] = np.array([name.encode() for name in names] or [], "S64")
            for name, weight in zip(names, layer.weights.values(), strict=True):
                group[name] = weight.astype(np.float32)


def decoder(seed: int = 1) -> list[Layer]:
    """Random weights, outputs about 0 .. 1."""
    chance = np.random.default_rng(seed)
    layers: list[Layer] = []
    channels = 3
    for number, (kernel, stride, padding, filters) in enumerate(DECODER, 1):
        last = number == len(DECODER)
        scale = (0.1 if last else 1.2) / np.sqrt(channels)
        weights = {
            "kernel": scale * chance.standard_normal((*kernel, filters, channels)),
            "bias": 0.5 * np.ones(filters) if last else 0.1 * chance.standard_normal(filters),
        }
        layers.append(
            _convolution(number, "Conv2DTranspose", kernel, stride, padding, filters, weights)
        )
        if not last:
            layers += _after(number, filters, chance)
        channels = filters
    return layers


def encoder(seed: int = 1) -> list[Layer]:
    chance = np.random.default_rng(seed)
    layers: list[Layer] = []
    channels = 1
    for number, (kernel, stride, filters) in enumerate(ENCODER, 1):
        scale = 1.2 / np.sqrt(channels * kernel[0] * kernel[1])
        weights = {
            "kernel": scale * chance.standard_normal((*kernel, channels, filters)),
            "bias": 0.1 * chance.standard_normal(filters),
        }
        layers.append(_convolution(number, "Conv2D", kernel, stride, "same", filters, weights))
        after = _after(number, filters, chance)
        layers += after if number < len(ENCODER) else after[1:]
        channels = filters
    return layers


def _convolution(
    number: int,
    kind: str,
    kernel: Any,
    stride: Any,
    padding: str,
    filters: int,
    weights: dict[str, Array],
) -> Layer:
    config = {
        "filters": filters,
        "kernel_size": list(kernel),
        "strides": list(stride),
        "padding": padding,
        "data_format": "channels_last",
        "activation": "linear",
        "use_bias": True,
    }
    return Layer(
        f"{'conv2d_transpose' if kind == 'Conv2DTranspose' else 'conv2d'}_{number}",
        kind,
        config,
        weights,
    )


def _after(number: int, filters: int, chance: np.random.Generator) -> list[Layer]:
    normal = {
        "gamma": chance.uniform(0.5, 1.5, filters),
        "beta": 0.1 * chance.standard_normal(filters),
        "moving_mean": 0.1 * chance.standard_normal(filters),
        "moving_variance": chance.uniform(0.5, 1.5, filters),
    }
    config = {"axis": -1, "momentum": 0.99, "epsilon": EPSILON, "center": True, "scale": True}
    return [
        Layer(f"leaky_re_lu_{number}", "LeakyReLU", {"alpha": SLOPE}, {}),
        Layer(f"batch_normalization_{number}", "BatchNormalization", config, normal),
    ]


def decode(layers: list[Layer], z: Array) -> Array:
    """The decoder's output (513, 128) by its definition.

    Each input cell adds its kernel, scaled, at its position times the stride.
    """
    image = np.asarray(z, np.float64).reshape(1, 1, 3)
    for layer in layers:
        w = layer.weights
        if layer.kind == "LeakyReLU":
            image = np.where(image > 0, image, SLOPE * image)
        elif layer.kind == "BatchNormalization":
            image = (image - w["moving_mean"]) / np.sqrt(w["moving_variance"] + EPSILON) * w[
                "gamma"
            ] + w["beta"]
        else:
            (kh, kw), (sh, sw) = layer.config["kernel_size"], layer.config["strides"]
            high, wide, _ = image.shape
            full = np.zeros((sh * (high - 1) + kh, sw * (wide - 1) + kw, layer.config["filters"]))
            for i in range(kh):
                for j in range(kw):
                    full[i : i + sh * high : sh, j : j + sw * wide : sw] += (
                        image @ w["kernel"][i, j].T
                    )
            if layer.config["padding"] == "same":
                full = full[
                    : sh * high, : sw * wide
                ]  # padding "same" crops at the end, here at most one column
            image = full + w["bias"]
    return image[:, :, 0]
