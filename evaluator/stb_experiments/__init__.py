"""``stb experiment``: measurements of the benchmark itself, one module per experiment.

An experiment runs the other packages as a user would, by commands and over HTTP, or reads what they stored. It
makes a ``Result`` (``output``): rows, the finding in words, and what it does not show.
"""
