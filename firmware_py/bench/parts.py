"""What a module of `nverb bench` needs in order to add its command line."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Protocol


class Parts(Protocol):
    """The subparsers of `nverb bench`, as argparse makes them."""

    def add_parser(self, name: str, *, help: str, description: str) -> ArgumentParser: ...
