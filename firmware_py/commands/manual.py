"""Manual pages (man(7)) and completion of the command `nverb`, made from its parsers.

They are placed below a `share` folder, where man and the shells look: /usr/local/share for the
service, ~/.local/share for a user.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from firmware_py.base.version import version
from firmware_py.commands.parsers import Subparsers, visible
from firmware_py.commands.table import GROUPS, build_parser

COMPLETION = {
    "bash": "bash-completion/completions/nverb",
    "zsh": "zsh/site-functions/_nverb",
    "fish": "fish/vendor_completions.d/nverb.fish",
}


def shared_files() -> dict[str, str]:
    """The contents of all files, by their path below the `share` folder."""
    from argcomplete.shell_integration import shellcode

    made = {f"man/man1/{name}.1": text for name, text in _pages().items()}
    for shell, path in COMPLETION.items():
        made[path] = shellcode(["nverb"], shell=shell) + "\n"
    return made


def _pages() -> dict[str, str]:
    """The page of `nverb`, and one of each command."""
    top = build_parser()
    words = subparsers_of(top)
    assert words is not None
    texts = {choice.dest: choice.help or "" for choice in words._choices_actions}
    lines = [*_head("nverb", "a neural reverb pedal"), *_synopsis(top), *_description(top)]
    for group, names in GROUPS.items():
        lines.append(f".SH {group.upper()}")
        for name in names:
            lines += [".TP", rf"\fBnverb {_plain(name)}\fR", _plain(texts[name])]
    lines += [*_options(top, ".SH"), ".SH SEE ALSO"]
    with_page = [name for group in GROUPS.values() for name in group if name != "help"]
    lines.append(_plain(", ".join(f"nverb-{name}(1)" for name in with_page)))
    pages = {"nverb": "\n".join(lines) + "\n"}
    for name in with_page:
        parser = words.choices[name]
        lines = [*_head(f"nverb-{name}", texts[name]), *_synopsis(parser), *_description(parser)]
        lines += _options(parser, ".SH")
        for title, child in _below(parser):
            lines += [f'.SH "{_plain(title).upper()}"', _plain(_usage(child))]
            lines += [".PP", *_text(child.description or ""), *_options(child, ".PP")]
        pages[f"nverb-{name}"] = "\n".join(lines) + "\n"
    return pages


def subparsers_of(parser: argparse.ArgumentParser) -> Subparsers | None:
    """The words that may follow those of this parser."""
    found = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return next(found, None)


def _below(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Each word below this command, in the order of its help, and its parser."""
    words = subparsers_of(parser)
    if words is None:
        return
    for name in visible(words):
        child = words.choices[name]
        yield child.prog.removeprefix("nverb "), child
        yield from _below(child)


def _head(name: str, text: str) -> list[str]:
    title = f'.TH {_plain(name).upper()} 1 "" "nverb {version()}" "nverb"'
    return [title, ".SH NAME", rf"{_plain(name)} \- {_plain(text)}"]


def _synopsis(parser: argparse.ArgumentParser) -> list[str]:
    return [".SH SYNOPSIS", _plain(_usage(parser))]


def _usage(parser: argparse.ArgumentParser) -> str:
    return " ".join(parser.format_usage().split()).removeprefix("usage: ")


def _description(parser: argparse.ArgumentParser) -> list[str]:
    return [".SH DESCRIPTION", *_text(parser.description or ""), *_text(parser.epilog or "")]


def _text(text: str) -> list[str]:
    """A text; indented lines stay as they are."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("  "):
            lines += [".br", _plain(line)]
        else:
            lines.append(_plain(line) or ".PP")
    return lines


def _options(parser: argparse.ArgumentParser, section: str) -> list[str]:
    """The arguments of a parser. `section`: the request before them."""
    formatter = parser._get_formatter()
    lines = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) or action.help == argparse.SUPPRESS:
            continue
        if not action.option_strings and not action.help:
            continue
        if section != ".SH" and action.dest in ("help", "quiet"):
            continue
        name = formatter._format_action_invocation(action)
        text = formatter._expand_help(action) if action.help else ""
        lines += [".TP", rf"\fB{_plain(name)}\fR", _plain(" ".join(text.split()))]
    if not lines:
        return []
    return [f"{section} OPTIONS" if section == ".SH" else section, *lines]


def _plain(text: str) -> str:
    """A text without meaning for roff, in one line."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{text}" if text[:1] in (".", "'") else text
