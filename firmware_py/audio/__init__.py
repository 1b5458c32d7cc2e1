"""The audio process. Everything it imports is locked in memory: import nothing heavy."""
