"""What a segmentation is worth, in numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence


def bytes_per_token(text: str, starts: Sequence[int]) -> float:
    """Bytes of UTF-8 for each token; 0 for an empty text."""
    return len(text.encode()) / len(starts) if starts else 0.0


def boundary_f1(starts: Iterable[int], gold: Iterable[int]) -> tuple[float, float, float]:
    """Precision, recall and F1 of the inner boundaries (byte offsets; the text's beginning does not count).

    No boundary anywhere is a perfect match: (1, 1, 1).
    """
    found, wanted = set(starts) - {0}, set(gold) - {0}
    hits = len(found & wanted)
    precision = hits / len(found) if found else 1.0
    recall = hits / len(wanted) if wanted else 1.0
    return precision, recall, 2 * precision * recall / (precision + recall) if hits or not (found or wanted) else 0.0


def renyi_efficiency(tokens: Iterable[int], vocabulary: int, alpha: float = 2.5) -> float:
    """Renyi entropy of the tokens' frequencies, over its maximum ln(vocabulary): 1 = all used alike (Zouhar et al. 2023).

    `alpha` 1 is Shannon's entropy; 0 for an empty text.
    """
    counts = Counter(tokens)
    total = sum(counts.values())
    if vocabulary < 2 or not total:
        return 0.0
    shares = [count / total for count in counts.values()]
    if alpha == 1:
        entropy = -sum(share * math.log(share) for share in shares)
    else:
        entropy = math.log(sum(share**alpha for share in shares)) / (1 - alpha)
    return entropy / math.log(vocabulary)
