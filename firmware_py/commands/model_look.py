"""`nverb model info|decode|encode|traverse`: what is in a model file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_py.base.say import say
from firmware_py.commands.parsers import add_json

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers
    from models.container import ModelFile


def add_info(parts: Subparsers) -> None:
    info = parts.add_parser(
        "info", help="what is in a model file; checks its network against its golden vectors"
    )
    info.add_argument("model", metavar="NAME")
    add_json(info)
    info.set_defaults(handler=_info)


def add_decode(parts: Subparsers) -> None:
    decode = parts.add_parser(
        "decode",
        help="the network's own output at a place of the knobs, as .npy, or as a picture",
    )
    decode.add_argument("model", metavar="NAME")
    place = decode.add_mutually_exclusive_group(required=True)
    place.add_argument(
        "--knobs", type=float, nargs=3, metavar=("X", "Y", "Z"), help="the knobs' values, 0 to 9"
    )
    place.add_argument(
        "--z",
        type=float,
        nargs="+",
        metavar="A",
        help="the latent itself: three values (own models: up to eight)",
    )
    decode.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="MAP.npy",
        help="or MAP.png: a spectrogram",
    )
    decode.set_defaults(handler=_decode)


def add_encode(parts: Subparsers) -> None:
    encode = parts.add_parser(
        "encode", help="the place of a recorded IR on the knobs, by the plug-in's encoder"
    )
    encode.add_argument(
        "model", metavar="NAME", help="an imported encoder.hdf5; for own models see `nverb encode`"
    )
    encode.add_argument("recording", type=Path, metavar="IR.wav")
    encode.set_defaults(handler=_encode)


def add_traverse(parts: Subparsers) -> None:
    traverse = parts.add_parser(
        "traverse", help="a walk through the rooms along the knobs X, Y and Z, as an animated GIF"
    )
    traverse.add_argument("output", type=Path, metavar="OUT.gif")
    traverse.add_argument(
        "--model",
        metavar="NAME",
        help="a model or a bank (default: the model that comes with nverb)",
    )
    traverse.add_argument(
        "--frames",
        type=int,
        default=72,
        metavar="N",
        help="pictures, 2 to 2000 (default: %(default)s)",
    )
    traverse.add_argument(
        "--fps",
        type=float,
        default=12.0,
        metavar="N",
        help="pictures a second, 1 to 50 (default: %(default)g)",
    )
    traverse.set_defaults(handler=_traverse)


def _info(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from firmware_py.base.paths import model_path
    from models.container import read

    path = model_path(args.model)
    model = read(path)
    about = model.description
    if args.json:
        print(json.dumps(asdict(about) | {"golden_vectors_met": _golden(path, model)}, indent=2))
        return 0
    print(
        f"{about.name}: {about.kind}, {about.inputs} to {about.outputs} values, "
        f"{about.quantisation}, {about.network_bytes} bytes"
    )
    if about.kind == "plug-in":
        print(f"{about.db_range:g} dB range, blip {'repaired' if about.repaired else 'kept'}")
    print(
        f"maps of {about.bands} bands, {about.lowest_hz:g} to {about.highest_hz:g} Hz, "
        f"and {about.frames} frames, {about.duration_s:g} s"
    )
    for name, value in sorted(about.figures.items()):
        print(f"{name} {value:.4g}")
    if _golden(path, model):
        print("golden vectors met")
    return 0


def _golden(path: Path, model: ModelFile) -> bool | None:
    """True if the network answers as it did when it was made; None, and a note, without a runtime.

    Raises ModelError.
    """
    from models.container import Network, NoRuntime
    from models.probe import prove

    try:
        prove(path)
        Network(model, str(path))
    except NoRuntime as error:
        say(f"golden vectors not checked: {error}")
        return None
    return True


def _decode(args: argparse.Namespace) -> int:
    import numpy as np

    from bank.places import point_of
    from firmware_py.base.paths import model_path, write_atomically
    from models.decoder import Decoder

    decoder = Decoder.open(model_path(args.model))
    values = decoder.picture(args.z or list(point_of(args.knobs)))
    if args.output.suffix.lower() == ".png":
        from bank.picture import draw_spectrogram

        draw_spectrogram(values, decoder.description, args.output)
    else:
        write_atomically(args.output, lambda file: np.save(file, values))
    shape = " x ".join(str(length) for length in values.shape)
    print(f"{args.output}: {shape}, {values.min():.3f} to {values.max():.3f}")
    return 0


def _encode(args: argparse.Namespace) -> int:
    from bank.places import text_of
    from bank.placing import plugin_input
    from bank.recording import read_recording
    from firmware_py.base.paths import model_path
    from models.decoder import PluginEncoder

    encoder = PluginEncoder.open(model_path(args.model))
    samples, rate_hz, notes = read_recording(args.recording)
    for note in notes:
        say(note)
    latent = encoder.encode(plugin_input(samples, rate_hz))
    x, y, z = (float(value) for value in latent[:3])
    print(
        f"{args.recording}: {text_of((x, y, z))}  "
        f"latent ({', '.join(f'{value:.4f}' for value in latent)})"
    )
    return 0


def _traverse(args: argparse.Namespace) -> int:
    from bank.picture import draw_walk
    from dsp.errors import UserError
    from firmware_py.base.paths import model_path
    from firmware_py.base.progress import Bar
    from firmware_py.rooms.source import find_source

    if not 2 <= args.frames <= 2000:
        raise UserError(f"--frames {args.frames}: from 2 to 2000")
    if not 1 <= args.fps <= 50:
        raise UserError(f"--fps {args.fps:g}: from 1 to 50")
    source = find_source(model_path(args.model) if args.model else None)
    bar = Bar()
    try:
        draw_walk(
            source,
            args.output,
            frames=args.frames,
            per_second=args.fps,
            progress=lambda done, of: bar("pictures", done, of),
        )
    finally:
        bar.close()
    print(f"{args.output}: {args.frames} pictures of {source.name}, {args.frames / args.fps:.1f} s")
    return 0
