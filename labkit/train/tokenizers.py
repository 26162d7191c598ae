"""The tokenizers of the zoo: what learned from what, how far it compresses text it never saw, and the files that ship."""

import json
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from labkit.tokenization.backend import FOLDER
from labkit.tokenization.kl3m import CAPS, LARGEST
from labkit.tokenization.segmenter import build_segmenter
from labkit.tokenization.texts import DOMAINS, domain, phrases
from labkit.tokenization.zoo import INNER
from labkit.train.lexicon import train_lexicon

KILOBYTES = 480  # of each domain: as much as the smallest has
HELD_OUT = 120  # kilobytes of each domain, to measure on
LOCALES = tuple("en de fr es it pt nl fi tr pl ru uk el ar he hi th ja zh ko".split())
LARGEST_BPE = 8192
LONGEST = 16  # bytes of a piece of WordPiece
# Without look-ahead, as the shipped models' own; but a letter is a letter in any script.
WORDS = r" ?[\p{L}\p{M}_]+|[0-9]{1,3}| ?[^\s\p{L}\p{M}_0-9]+|\n *|\s"
BYTES = {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet(), "show_progress": False}
MEASURED = {
    **{f"bpe-{size}": ("bpe", {"size": size}) for size in (512, 1024, 2048, 4096, 8192)},
    "unigram": ("unigram", {}),
    "wordpiece": ("wordpiece", {}),
    "lib": ("lib", {}),
    **{f"domain-{name}": ("domain-bpe", {"domain": name}) for name in (*DOMAINS, "general")},
    **{f"char-{cap}": ("char-bpe", {"max_chars": cap}) for cap in CAPS},
}


def mixed() -> list[str]:
    """The mixed text: the training texts of every domain in equal parts, and phrases of twenty languages."""
    return [text for name in DOMAINS for text in training(name)] + ["\n".join(phrases(locale).values()) for locale in LOCALES]


def training(name: str) -> list[str]:
    """A domain's training texts, cut after `KILOBYTES`, so that a long last file does not weigh more than its share."""
    texts, room = [], 1000 * KILOBYTES
    for text in domain(name, KILOBYTES):
        texts.append(text.encode()[:room].decode(errors="ignore"))
        room -= len(texts[-1].encode())
    return texts


def learned(model, trainer, texts: Iterable[str]) -> Tokenizer:
    """A byte-level tokenizer of any kind, trained on `texts`."""
    tokenizer = Tokenizer(model)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(WORDS), "isolated"), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def bpe(texts: Iterable[str], size: int, longest: int | None = None) -> Tokenizer:
    """Byte-level BPE of `size` types, no token longer than `longest` (2 and more) letters of the byte alphabet."""
    more = {} if longest is None else {"max_token_length": longest + 1}  # the library means "shorter than"
    return learned(models.BPE(), trainers.BpeTrainer(vocab_size=size, **BYTES, **more), texts)


def unigram(texts: Iterable[str], size: int) -> Tokenizer:
    """Unigram over bytes."""
    return learned(models.Unigram(), trainers.UnigramTrainer(vocab_size=size, **BYTES), texts)


def wordpiece(texts: Iterable[str], size: int) -> Tokenizer:
    """WordPiece over bytes; every byte may begin a word and go on one, also where no text did so.

    Pieces over `LONGEST` bytes are left out: at every place of a long word, all lengths up to the longest piece are tried.
    """
    alphabet = sorted(BYTES["initial_alphabet"])
    alphabet += [INNER + letter for letter in alphabet]
    spare = {"vocab_size": size + 200, "special_tokens": alphabet}
    trainer = trainers.WordPieceTrainer(**spare, continuing_subword_prefix=INNER, show_progress=False)
    tokenizer = learned(models.WordPiece(), trainer, texts)
    names = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    kept = [name for name in names if len(name.removeprefix(INNER)) <= LONGEST][:size]
    tokenizer.model = models.WordPiece({name: token for token, name in enumerate(kept)}, continuing_subword_prefix=INNER)
    return tokenizer


def compact(tokenizer: Tokenizer) -> str:
    """The file of a tokenizer without what reading it does not need."""
    whole = json.loads(tokenizer.to_str())
    model = {key: value for key, value in whole["model"].items() if value is not None}
    if "merges" in model:
        model["merges"] = [" ".join(pair) for pair in model["merges"]]
    if model["type"] == "Unigram":
        model["vocab"] = settled(model["vocab"])
    kept = {"version": "1.0", "pre_tokenizer": whole["pre_tokenizer"], "decoder": whole["decoder"], "model": model}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")) + "\n"


def settled(vocabulary: list[list]) -> list[list]:
    """Pieces and scores of Unigram in one order: the library leaves to chance how equal pieces follow each other, and which of
    the letters that it did not need gets which of the steps of 0.0001 above the lowest score."""
    scores = {piece: round(score, 4) for piece, score in vocabulary}
    rare = sorted(piece for piece, score in scores.items() if len(piece) == 1 and score < min(scores.values()) + 256 * 0.0001)
    scores |= zip(rare, sorted((scores[piece] for piece in rare), reverse=True))
    return [[piece, score] for piece, score in sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))]


def train_tokenizers(report: Callable[[str], None] = print) -> Path:
    """Train them all, write one JSON file each into data/tokenizers, and their figures; returns the figures' file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    texts = mixed()
    plans = {"bpe": lambda: bpe(texts, LARGEST_BPE), "unigram": lambda: unigram(texts, LARGEST)}
    plans["wordpiece"] = lambda: wordpiece(texts, LARGEST)
    plans |= {f"domain-{name}": lambda name=name: bpe(training(name), LARGEST) for name in DOMAINS}
    plans |= {f"char-{cap}": lambda cap=cap: bpe(texts, LARGEST, cap) for cap in CAPS[1:]}
    for name, plan in plans.items():
        tokenizer = plan()
        (FOLDER / f"{name}.json").write_text(compact(tokenizer), encoding="utf-8")
        report(f"{name}: {tokenizer.get_vocab_size()} types")
    return write_figures(sum(len(text.encode()) for text in texts), train_lexicon(report))


def write_figures(trained_on: int, lexicon: dict) -> Path:
    """Bytes per token of every tokenizer on held-out text of every domain, and what `train_lexicon` found.

    Only the lexicon's learning is random: its figures hold the seed.
    """
    held_out = {name: "".join(domain(name, HELD_OUT, held_out=True)).encode()[: 1000 * HELD_OUT] for name in DOMAINS}
    texts = {name: text.decode(errors="ignore") for name, text in held_out.items()}
    figures = {"date": date.today().isoformat(), "trained_on_bytes": trained_on, "lexicon": lexicon, "bytes_per_token": {}}
    for name, (segmenter, knobs) in MEASURED.items():
        cutter = build_segmenter(segmenter, knobs)
        figures["bytes_per_token"][name] = {of: round(len(t.encode()) / len(cutter.cut(t)), 3) for of, t in texts.items()}
    file = FOLDER / "figures.json"
    file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return file
