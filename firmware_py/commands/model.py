"""`nverb model`: room models made, measured and inspected. Handlers import the heavy packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_py.commands import model_eval, model_look, model_train

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    model = subparsers.add_parser("model", help="train, import, measure and look into room models")
    parts = model.add_subparsers(title="what to do", metavar="WHAT", required=True)
    model_train.add_train(parts)
    model_eval.add_eval(parts)
    model_train.add_import(parts)
    model_look.add_info(parts)
    model_look.add_decode(parts)
    model_look.add_encode(parts)
    model_look.add_traverse(parts)
