"""Sound: the convolution kernel, the engine that pyo calls, the pyo graph, rooms as energy maps, acoustics.

Knows no files, no knobs and no processes. Imports NumPy only (the graph: pyo as well), so the audio process may import it.
"""
