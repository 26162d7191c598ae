"""Python's names for the morphological segmenter (P101) and for %pure (P093), and the BPE pieces for what has no morphemes."""

from __future__ import annotations

import ast
import warnings
from collections import Counter
from collections.abc import Callable, Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from labkit.tokenization.backend import FOLDER
from labkit.tokenization.endings import library_names
from labkit.tokenization.morphs import LANGUAGES, book
from labkit.tokenization.texts import phrases
from labkit.train.corpus import documents, is_held_out, sources

USES = 10  # a name that the standard library uses less often is not listed
FALLBACK = 1000  # entries of the BPE, its 256 bytes among them


def train_morphs(report: Callable[[str], None] = print) -> list[str]:
    """Write `python_names.txt` and a BPE file a language into data/tokenizers; returns the files' names."""
    names = standard_names()
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "python_names.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    report(f"{len(names):,} names of the standard library")
    library_names.cache_clear()
    written = ["python_names.txt"]
    texts = {"python": (document.text for document in _library()), "turkish": phrases("tr").values()}
    for language in LANGUAGES:
        tokenizer = fallback(rests(language, texts[language]))
        tokenizer.save(str(FOLDER / f"morphs_{language}.json"), pretty=False)
        report(f"{language}: {tokenizer.get_vocab_size():,} BPE entries")
        written.append(f"morphs_{language}.json")
    return written


def _library() -> Iterator:
    """The standard library's training files, without its own tests."""
    for document in documents(sources(())):
        if not is_held_out(document.digest) and "test" not in document.source:
            yield document


def standard_names() -> list[str]:
    """ASCII names that the standard library defines and uses `USES` times or more, the most used first."""
    used: Counter[str] = Counter()
    defined: set[str] = set()
    for document in _library():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tree = ast.parse(document.text)
            except SyntaxError:
                continue
        for node in ast.walk(tree):
            name = next(
                (found for field in ("name", "arg", "id", "attr") if (found := getattr(node, field, None))), None
            )
            if isinstance(name, str):
                used[name] += 1
                if not isinstance(node, ast.Name | ast.Attribute) or isinstance(node.ctx, ast.Store):
                    defined.add(name)
    kept = [(-times, name) for name, times in used.items() if times >= USES and name in defined and name.isascii()]
    return [name for _, name in sorted(kept) if name.isidentifier()]


def rests(language: str, texts) -> Counter[str]:
    """What the language's roots and affixes leave of the texts, in small letters, and how often."""
    numbers, found = book(language, fallback=False), Counter()
    for text in texts:
        for match in numbers.words.finditer(text):
            if match.lastgroup != "space":
                word = numbers.language.lower(match[0]) if match.lastgroup else match[0]
                known = sum(len(written) for _, written in numbers.word(word)) if match.lastgroup else 0
                found[word[known:]] += 1
    return found


def fallback(found: Counter[str]) -> Tokenizer:
    """A byte-level BPE of `FALLBACK` entries that never joins two of these strings."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=FALLBACK, initial_alphabet=alphabet, show_progress=False)
    ordered = sorted((rest, times) for rest, times in found.items() if rest)
    tokenizer.train_from_iterator((rest for rest, times in ordered for _ in range(times)), trainer)
    return tokenizer
