"""Longest match from the left, the rule that WordPiece, LiB and morphological tokenizers share."""

from __future__ import annotations

from collections.abc import Container


def longest_match(data: bytes, lexicon: Container[bytes], longest: int) -> list[bytes]:
    """Cut `data` left to right into the longest members of `lexicon` (at most `longest` bytes); else single bytes."""
    pieces, at = [], 0
    while at < len(data):
        for end in range(min(at + longest, len(data)), at, -1):
            if end == at + 1 or data[at:end] in lexicon:
                pieces.append(data[at:end])
                at = end
                break
    return pieces
