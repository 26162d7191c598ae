"""How the samplers look in every chart: no line is told by its colour alone."""

from __future__ import annotations

# colour, dash and symbol by the beginning of the name
LOOKS = {
    "no cut": ("ink-3", "dot", "x"),
    "Top-k": ("ink-3", "2px,3px", "line-ew-open"),
    "Top-p": ("draft", "dash", "circle"),
    "Min-p": ("here", "dashdot", "triangle-up"),
    "Eta": ("e4", "6px,3px", "square-open"),
    "Typical": ("e5", "9px,3px,2px,3px", "diamond-open"),
    "Top-H": ("target-edge", "solid", "square"),
}


def look(name: str, ink: dict[str, str]) -> dict:
    """Line and marker of the sampler called `name`; Top-H by the released rule has open marks on a dotted line."""
    colour, dash, symbol = next(one for start, one in LOOKS.items() if name.startswith(start))
    if name.endswith("released"):
        dash, symbol = "dot", "square-open"
    line = {"color": ink[colour], "dash": dash, "width": 3 if name.startswith("Top-H") else 2}
    return {"line": line, "marker": {"symbol": symbol, "size": 8, "color": ink[colour]}}
