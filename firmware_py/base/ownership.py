"""Root gives up its rights before it writes to a folder that others can change.

Others could have put a link where root is about to write, and so choose the file that root writes.
As the folder's owner a command can do no more than they can.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
import stat

from dsp.errors import UserError
from firmware_py.base.paths import data_path


def become_owner_of_data() -> None:
    """As root: become the owner of the data folder. Called before a command that writes to it.

    Irrevocably, with the owner's groups. Files are then read as that user and belong to it.
    Real-time priority and locked memory stay allowed. Raises UserError if root owns the folder but
    others may write to it, OSError.
    """
    if os.geteuid() != 0:
        return
    data = data_path()
    try:
        info = data.stat()
    except FileNotFoundError:  # it will be made, by root and for root
        return
    if info.st_uid == 0:
        if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UserError(
                f"{data} belongs to root, but others may write to it: give it to the pedal's user "
                f"(sudo chown nverb:nverb {data}), or forbid them (sudo chmod go-w {data})"
            )
        return
    for limit in (resource.RLIMIT_RTPRIO, resource.RLIMIT_MEMLOCK):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    try:
        # Groups give access to the board and the sound card.
        os.initgroups(pwd.getpwuid(info.st_uid).pw_name, info.st_gid)
    except KeyError:
        os.setgroups([])
    os.setresgid(info.st_gid, info.st_gid, info.st_gid)
    os.setresuid(info.st_uid, info.st_uid, info.st_uid)
