"""The pedal: audio process, control process, the mailbox between them, and the command `nverb`."""
