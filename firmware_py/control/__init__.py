"""The control process: reads board, MIDI and OSC, writes rooms and parameters to the mailbox,
plays presets, answers commands."""
