"""`nverb jack`: jackd as a service."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firmware_py.commands.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    jack = subparsers.add_parser(
        "jack",
        description="jackd alone, a service: run it as `nverb settings` says; restart it when it "
        "dies or hangs, or when its sound card comes back.",
    )
    jack.set_defaults(handler=_jack)


def _jack(_: argparse.Namespace) -> int:
    from firmware_py.base.paths import Lock
    from firmware_py.jack.service import run

    lock_file = Lock("jack", "nverb jack")
    run()
    lock_file.close()
    return 0
