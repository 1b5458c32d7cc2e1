"""IR banks: the file format, reading by memory map, building, importing and exporting folders of recordings."""

from bank.format import Bank, BankError, Waveform

__all__ = ["Bank", "BankError", "Waveform"]
