"""Sound: the convolution kernel, the engine that pyo calls, the pyo graph, rooms as energy maps,
acoustics.

Does not know about files, knobs or processes. Imports NumPy only; the graph, which the audio
process imports, imports pyo only.
"""
