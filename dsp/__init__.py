"""Sound: the convolution kernel, the engine that pyo calls, the pyo graph, rooms as energy maps, acoustics.

Knows no files, no knobs and no processes. Imports NumPy only; the graph, which the audio process imports, pyo only.
"""
