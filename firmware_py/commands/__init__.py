"""One module for each `nverb` command, with the name of the command.

Each has `add_parser(subparsers)`: it describes the arguments and sets `handler`, a function that
takes the parsed arguments and returns an exit status. These modules are cheap to import; heavy
imports are inside the handlers. `firmware_py.commands.table` lists them. A command that writes to
the data folder also sets `as_owner`: as root it becomes the folder's owner before its handler is
called.

Long commands have further modules with the same prefix (model_train.py). Shared by several
commands: parsers.py (types), engine_options.py (run, demo, audio, control), installed.py (install,
push, list, use, rollback, remove), completers.py (what the shell completes).
"""
