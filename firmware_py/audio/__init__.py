"""The audio process. Its imports are locked in memory: nothing heavy."""
