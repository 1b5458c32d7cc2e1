"""The boards of push and pull: names, groups and ssh options, from the inventory file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dsp.errors import UserError, did_you_mean
from models.reading import read_file, toml_table

CONNECT_S = 15
MAX_INVENTORY = 1 << 20


@dataclass(frozen=True)
class Ssh:
    """Options of the ssh command; None and () leave them to the user's own configuration."""

    port: int | None = None
    identity: str | None = None
    config: str | None = None
    options: tuple[str, ...] = ()
    command: str | None = None

    def over(self, other: Ssh) -> Ssh:
        """These options, completed by those of `other`."""
        return Ssh(
            self.port or other.port,
            self.identity or other.identity,
            self.config or other.config,
            (*self.options, *other.options),  # ssh uses the first of several values
            self.command or other.command,
        )


@dataclass(frozen=True)
class PushTarget:
    """A board: its name in messages, its ssh host and ssh options."""

    name: str
    host: str
    ssh: Ssh

    def words(self, command: str, *, ask: bool) -> list[str]:
        """The ssh command line for `nverb COMMAND`, as the board's shell reads it. ask: ssh may ask
        for a password or to confirm a host key."""
        words = ["ssh", "-T"]
        words += ["-F", self.ssh.config] if self.ssh.config else []
        words += ["-p", str(self.ssh.port)] if self.ssh.port else []
        words += ["-i", os.path.expanduser(self.ssh.identity)] if self.ssh.identity else []
        for option in self.ssh.options:
            words += ["-o", option]
        words += [] if ask else ["-o", "BatchMode=yes"]
        words += [
            "-o",
            f"ConnectTimeout={CONNECT_S}",
            "-o",
            "ServerAliveInterval=5",
            "-o",
            "ServerAliveCountMax=3",
        ]
        return [*words, "--", self.host, f"{self.ssh.command or 'nverb'} {command}"]


def boards(target: str, inventory: Path | None, given: Ssh) -> list[PushTarget]:
    """The boards that a HOST or @GROUP of the command line stands for.

    given: ssh options of the command line, which override those of the inventory.
    Raises UserError, OSError.
    """
    from firmware_py.base.paths import data_dir

    path = inventory or data_dir() / "boards.toml"
    if target.startswith("@"):
        known, groups = _read(path)
        name = target[1:]
        if name not in groups:
            hint = did_you_mean(target, [f"@{group}" for group in groups])
            raise UserError(f"{path}: no group {target}: {hint}")
        members = groups[name]
    else:
        known = _read(path)[0] if inventory is not None or path.exists() else {}
        members = [target]
    found = [
        known.get(member, PushTarget(member, member, Ssh())) for member in dict.fromkeys(members)
    ]
    for board in found:
        if (
            board.host.startswith("-")
            or not board.host
            or not board.host.isprintable()
            or " " in board.host
        ):
            raise UserError(f"{board.host!r} is not a host: write [user@]host")
    if not found:
        raise UserError(f"{path}: the group {target} is empty")
    return [replace(board, ssh=given.over(board.ssh)) for board in found]


def _read(path: Path) -> tuple[dict[str, PushTarget], dict[str, list[str]]]:
    """Boards and groups of an inventory file. Raises UserError."""
    try:
        table = toml_table(read_file(path, MAX_INVENTORY), str(path))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such inventory of boards; see docs/push.md for its format"
        ) from None
    _known_keys(path, "", table, ("board", "group"))
    known = {name: _target(path, name, row) for name, row in _table(path, "board", table).items()}
    groups = {"all": list(known)}
    for name, members in _table(path, "group", table).items():
        if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
            raise UserError(f'{path}, group {name}: must be a list of boards, ["left", "right"]')
        groups[name] = members
    return known, groups


def _target(path: Path, name: str, row: object) -> PushTarget:
    """The board of one table [board.NAME] of the inventory. Raises UserError."""
    where = f"board.{name}"
    if not isinstance(row, dict):
        raise UserError(f"{path}: {where} must be a table: write [{where}], with its keys below")
    _known_keys(path, where, row, ("host", "port", "identity", "options", "command"))
    for key, value in row.items():
        if key == "port":
            is_valid, needs = type(value) is int and 1 <= value <= 65535, "a number from 1 to 65535"
        elif key == "options":
            is_valid = isinstance(value, list) and all(isinstance(one, str) for one in value)
            needs = "a list of texts"
        else:
            is_valid, needs = isinstance(value, str) and bool(value), "text"
        if not is_valid:
            raise UserError(f"{path}, {where}: {key} = {value!r}: must be {needs}")
    ssh = Ssh(
        row.get("port"),
        row.get("identity"),
        None,
        tuple(row.get("options", ())),
        row.get("command"),
    )
    return PushTarget(name, row.get("host", name), ssh)


def _table(path: Path, key: str, table: Mapping[str, object]) -> dict[str, object]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise UserError(f"{path}: {key} must be a table, [{key}]")
    return value


def _known_keys(path: Path, where: str, table: Mapping[str, object], keys: tuple[str, ...]) -> None:
    for key in table:
        if key not in keys:
            place = f"{path}, {where}" if where else f"{path}"
            raise UserError(f"{place}: unknown key {key!r}: {did_you_mean(key, keys)}")
