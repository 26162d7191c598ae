"""Prompts of narrow topics: pieces of held-out files that do not overlap, in an order that stays."""

import json

import pytest

from labkit import prompts as shipped
from labkit.paths import DATA
from labkit.train import corpus
from labkit.train.prompts import TOPIC_LENGTH, TOPIC_PROMPTS, TOPICS, topic_prompts

LINES = [f"assert value_{'ab'[number % 2] * (1 + number % 7)}.is_real is True\n" for number in range(2000)]


@pytest.fixture
def documents(monkeypatch):
    def having(digest: str, lines: list[str] = LINES) -> None:
        found = [corpus.Document(source, "some", "".join(lines), digest) for source in TOPICS.values()]
        monkeypatch.setattr(corpus, "sources", lambda packages: [])
        monkeypatch.setattr(corpus, "documents", lambda chosen: iter(found))

    return having


def test_pieces_of_one_file(documents):
    documents(f"{100:064x}")
    found = topic_prompts()
    assert found == topic_prompts(), "the order stays"
    for name, topic in found.items():
        assert topic["source"] == TOPICS[name] and len(topic["prompts"]) == TOPIC_PROMPTS
        for text in topic["prompts"]:
            assert len(text) >= TOPIC_LENGTH and text.endswith("\n") and text in "".join(LINES)


@pytest.mark.parametrize(
    ("digest", "lines", "sentence"),
    [(101, LINES, "not among the held-out ones"), (100, LINES[:200], "fewer than 144: choose a longer file")],
    ids=["trained on", "short"],
)
def test_files_that_will_not_do(digest, lines, sentence, documents):
    documents(f"{digest:064x}", lines)
    with pytest.raises(ValueError, match=sentence):
        topic_prompts()


def test_the_shipped_topics():
    found = json.loads((DATA / "prompts" / "topics.json").read_text())
    assert {name: topic["source"] for name, topic in found.items()} == TOPICS
    assert {name: len(texts) for name, texts in shipped.topics().items()} == dict.fromkeys(TOPICS, TOPIC_PROMPTS)
    assert all(len(set(texts)) > 0.9 * TOPIC_PROMPTS for texts in shipped.topics().values())
