"""plotly.js for the pages, gzipped: its cartesian part, a third of the whole, and the whole for the few charts beyond it.

The part lies here as npm's `plotly.js-cartesian-dist-min` 4.1.1 has it (MIT, see `LICENSE`): the installed package brings the
whole only, and to read that holds a page up for three times as long. The whole is the installed package's.
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib import resources


@cache
def packed(whole: bool = False) -> bytes:
    """The library: 0.5 MB, or 1.5 MB the whole, which is gzipped once a process."""
    if whole:
        return gzip.compress(resources.files("plotly").joinpath("package_data/plotly.min.js").read_bytes(), 6)
    return resources.files(__name__).joinpath("plotly-cartesian.min.js.gz").read_bytes()
