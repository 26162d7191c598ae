"""The numbers of a segmentation against counts by hand."""

from __future__ import annotations

import math

import pytest

from labkit.tokenization import texts
from labkit.tokenization.metrics import boundary_f1, bytes_per_token, renyi_efficiency


def test_bytes_a_token():
    assert bytes_per_token("né", [0, 1]) == 1.5
    assert bytes_per_token("", []) == 0


def test_boundary_f1_by_hand():
    precision, recall, f1 = boundary_f1([0, 2, 5, 7], [0, 2, 7, 9])
    assert (precision, recall) == (2 / 3, 2 / 3) and f1 == pytest.approx(2 / 3)
    assert boundary_f1([0], [0]) == (1, 1, 1)
    assert boundary_f1([0, 1], [0, 2])[2] == 0
    assert boundary_f1([0, 1], [0]) == (0, 1, 0)


def test_renyi_efficiency():
    assert renyi_efficiency([1, 2, 3, 4], 4) == pytest.approx(1)
    assert renyi_efficiency([1, 1, 1], 4) == 0
    shares = (0.75, 0.25)
    by_hand = math.log(sum(share**2.5 for share in shares)) / (1 - 2.5) / math.log(8)
    assert renyi_efficiency([1, 1, 1, 2], 8) == pytest.approx(by_hand)
    shannon = -sum(share * math.log(share) for share in shares) / math.log(8)
    assert renyi_efficiency([1, 1, 1, 2], 8, alpha=1) == pytest.approx(shannon)
    assert renyi_efficiency([1, 1, 1, 2], 8, alpha=1 + 1e-6) == pytest.approx(shannon, abs=1e-5)
    assert renyi_efficiency([], 8) == 0


@pytest.mark.parametrize("name", ["css", "legal"])
def test_domains_keep_their_splits_apart(name):
    train, away = texts.domain(name, 100), texts.domain(name, 100, held_out=True)
    assert train and away and not set(train) & set(away)
    assert texts.domain(name, 100) is train and sum(len(text.encode()) for text in train) >= 100_000


def test_the_same_phrases_in_many_languages():
    keys = texts.parallel(("en", "fi", "ru", "ja"))
    assert len(keys) > 900 and keys == sorted(keys)
    assert texts.phrases("fi")["languages.ru"] == "venäjä" and texts.phrases("en")["languages.ru"] == "Russian"


def test_names_that_are_not_there():
    with pytest.raises(Exception, match="no domain 'poems': choose one of python, css, legal"):
        texts.domain("poems")
    with pytest.raises(Exception, match="no locale 'xx-not-one'"):
        texts.phrases("xx-not-one")
