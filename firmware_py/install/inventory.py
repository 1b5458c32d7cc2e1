"""Which boards a push goes to: names, groups and ssh options, from the inventory file."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dsp.errors import UserError, did_you_mean

CONNECT_S = 15


MAX_INVENTORY = 1 << 20


@dataclass(frozen=True)
class Ssh:
    """How ssh is called; None and () leave it to the user's own configuration."""

    port: int | None = None
    identity: str | None = None
    config: str | None = None
    options: tuple[str, ...] = ()
    command: str | None = None

    def over(self, other: Ssh) -> Ssh:
        """This one, and the other where this says nothing."""
        return Ssh(
            self.port or other.port,
            self.identity or other.identity,
            self.config or other.config,
            (*self.options, *other.options),  # ssh takes the first value that it is given
            self.command or other.command,
        )


@dataclass(frozen=True)
class Board:
    name: str
    host: str
    ssh: Ssh

    def words(self, *, ask: bool) -> list[str]:
        """The ssh command line. ask: ssh may ask for a password or whether a host is known."""
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
        return [*words, "--", self.host, f"{self.ssh.command or 'nverb'} store"]


def boards(target: str, inventory: Path | None, given: Ssh) -> list[Board]:
    """What a HOST on the command line means; `given` goes before what the inventory says. Raises UserError, OSError."""
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
    found = [known.get(member, Board(member, member, Ssh())) for member in dict.fromkeys(members)]
    for board in found:
        if (
            board.host.startswith("-")
            or not board.host
            or not board.host.isprintable()
            or " " in board.host
        ):
            raise UserError(f"{board.host!r} is no host: write [user@]host")
    if not found:
        raise UserError(f"{path}: the group {target} is empty")
    return [replace(board, ssh=given.over(board.ssh)) for board in found]


def _read(path: Path) -> tuple[dict[str, Board], dict[str, list[str]]]:
    """Boards and groups of an inventory file."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_INVENTORY + 1)
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such inventory of boards; see docs/push.md for what it holds"
        ) from None
    try:
        if len(data) > MAX_INVENTORY:
            raise ValueError(f"larger than {MAX_INVENTORY} bytes")
        table = tomllib.loads(data.decode())
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    _known_keys(path, "", table, ("board", "group"))
    known = {}
    for name, row in _table(path, "board", table).items():
        where = f"board.{name}"
        if not isinstance(row, dict):
            raise UserError(f"{path}: write [{where}], with its keys below")
        _known_keys(path, where, row, ("host", "port", "identity", "options", "command"))
        for key, value in row.items():
            fits = {
                "port": type(value) is int and 1 <= value <= 65535,
                "options": isinstance(value, list)
                and all(isinstance(option, str) for option in value),
            }.get(key, isinstance(value, str) and bool(value))
            if not fits:
                needs = {"port": "a number from 1 to 65535", "options": "a list of texts"}.get(
                    key, "text"
                )
                raise UserError(f"{path}, {where}: {key} = {value!r}: must be {needs}")
        ssh = Ssh(
            row.get("port"),
            row.get("identity"),
            None,
            tuple(row.get("options", ())),
            row.get("command"),
        )
        known[name] = Board(name, row.get("host", name), ssh)
    groups = {"all": list(known)}
    for name, members in _table(path, "group", table).items():
        if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
            raise UserError(f'{path}, group {name}: must be a list of boards, ["left", "right"]')
        groups[name] = members
    return known, groups


def _table(path: Path, key: str, table: dict[str, Any]) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise UserError(f"{path}: {key} must be a table, [{key}]")
    return value


def _known_keys(path: Path, where: str, table: dict[str, Any], keys: tuple[str, ...]) -> None:
    for key in table:
        if key not in keys:
            place = f"{path}, {where}" if where else f"{path}"
            raise UserError(f"{place}: unknown key {key!r}: {did_you_mean(key, keys)}")
