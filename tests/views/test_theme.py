"""The style sheet and the Python side hold the same colours."""

import re

import pytest

from labkit.ui import assets
from labkit.views import theme


def block(css: str, selector: str) -> dict[str, str]:
    """The colour tokens of the first rule with this selector that holds any."""
    for body in re.findall(re.escape(selector) + r"\s*\{(.*?)\}", css, re.S):
        if found := dict(re.findall(r"--tl-([a-z0-9-]+):\s*(#[0-9a-f]{6})", body)):
            return found
    return {}


@pytest.mark.parametrize("selector,tokens", [(".tl", theme.LIGHT), ('.tl[data-theme="dark"]', theme.DARK)])
def test_tokens_are_the_style_sheets(selector, tokens):
    assert block(assets.styles(), selector) == tokens


def test_classes_of_entropy_are_the_pages():
    edges = re.search(r"ENTROPY_EDGES = \[(.*?)\]", assets.script("bench"))[1]
    assert [float(edge) for edge in edges.split(",")] == list(theme.ENTROPY_EDGES)
    assert [theme.entropy_class(x) for x in (0, 0.0999, 0.1, 2.99, 3, 99)] == [0, 0, 1, 5, 6, 6]


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("tokens", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_text_can_be_read(tokens):
    def contrast(a, b):
        high, low = sorted((luminance(tokens[a]), luminance(tokens[b])), reverse=True)
        return (high + 0.05) / (low + 0.05)

    pairs = [("ink", "paper"), ("ink-2", "paper"), ("ink-3", "paper"), ("on-draft", "draft"), ("on-target", "target")]
    pairs += [
        ("draft-ink", "paper"),
        ("target-ink", "paper"),
        ("refuse-ink", "paper"),
        ("refuse-ink", "refuse-tint"),
        ("ghost-ink", "paper"),
    ]
    pairs += [(f"on-e{i}", f"e{i}") for i in range(7)]
    assert {pair: round(contrast(*pair), 1) for pair in pairs if contrast(*pair) < 4.5} == {}
    marks = [("edge", "paper"), ("draft", "paper"), ("target-edge", "paper"), ("refuse", "paper"), ("here", "paper")]
    assert {pair: round(contrast(*pair), 1) for pair in marks if contrast(*pair) < 3} == {}
