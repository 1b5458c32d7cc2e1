"""Tools for a desktop machine: supervisor, demo, render, encode, panel, doctor."""
