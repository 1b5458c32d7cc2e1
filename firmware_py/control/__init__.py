"""The control process: board, MIDI and OSC in, rooms and parameters out, presets, answers to commands."""
