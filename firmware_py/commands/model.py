"""`nverb model train|eval`: room models made and measured. The desktop's heavy packages are imported by the handlers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parsers(subparsers: Any) -> None:
    model = subparsers.add_parser("model", help="train, import, measure and look into room models")
    parts = model.add_subparsers(title="what to do", metavar="WHAT", required=True)
    _add_train(parts)
    _add_eval(parts)


def _add_train(parts: Any) -> None:
    train = parts.add_parser("train", help="train a decoder and an encoder of rooms (needs the studio packages)")
    train.add_argument("-o", "--output", type=Path, required=True, metavar="NAME", help="folder for what is made")
    train.set_defaults(handler=_train)


def _add_eval(parts: Any) -> None:
    measure = parts.add_parser("eval", help="measure a model: decay, clarity and level errors per octave band")
    measure.add_argument(
        "model", type=Path, nargs="?", metavar="MODEL", help="default: the model that comes with nverb"
    )
    measure.set_defaults(handler=_eval)


def _train(args: argparse.Namespace) -> int:
    raise ValueError("training is not here yet")


def _eval(args: argparse.Namespace) -> int:
    raise ValueError("measuring is not here yet")
