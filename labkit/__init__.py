"""Token Lab: see how a language model writes, one token at a time.

Importing `labkit` imports neither torch nor numpy: models live behind `labkit.engine`.
"""

__version__ = "0.1.0"
