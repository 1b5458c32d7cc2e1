"""One module for each group of `nverb` commands.

Each has `add_parsers(subparsers)`, cheap to import: it describes the arguments and sets `handler`, a function of the parsed
arguments that returns an exit status. Heavy imports stand inside the handlers.
"""
