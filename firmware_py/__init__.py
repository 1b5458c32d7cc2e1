"""The pedal: audio process, control process, the mailbox between them, presets, and the command `nverb`."""
