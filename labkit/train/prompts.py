"""Held-out prompts: beginnings of files and functions that training here leaves out, for benches and tests."""

import ast
import json
import random
import re
import sys
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain, zip_longest
from pathlib import Path

from tokenizers import Tokenizer

from labkit.train import corpus
from labkit.train.needles import make_needle
from labkit.train.tokens import pieces

TOPICS = {  # narrow ones, which a draft can learn: one held-out file each
    "numeric calls": "numpy/typing/tests/data/pass/random.py",
    "assertions": "sympy/core/tests/test_assumptions.py",
}
TOPIC_PROMPTS, TOPIC_LENGTH = 144, 240  # prompts a topic; characters a prompt, at least
LENGTHS = (40, 200)  # tokens
NEEDLES = ((100, 300), (400, 600), (900, 1700))  # tokens between where a value is given and where it is asked for
PER_FILE = 3
BEFORE, AFTER = 4_000, 6_000  # characters in front of an attribute's dot and behind its function, at most
_BLOCK = re.compile(r"^(?:@\w.*\n)*(?:class|def|async def) ", re.MULTILINE)
_HEADER = re.compile(r"\A(?:#.*\n|\s*\n)+")  # a licence header says nothing about code


def held_out_prompts(tokenizer: Tokenizer, count: int = 120, seed: int = 0) -> list[dict[str, str]]:
    """`count` prompts of 40 to 200 tokens as {"id", "source", "text"}; the sources take turns, so any first N vary.

    Each is the beginning of a held-out file or of a top-level block in it, and ends at the end of a line.
    Raises ValueError when the held-out files give fewer than `count`.
    """
    rng = random.Random(seed)
    held = [document for document in corpus.documents(corpus.sources()) if corpus.is_held_out(document.digest)]
    by_package: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for document in sorted(held, key=lambda document: document.digest):
        by_package[document.package] += [(document.source, text) for text in _openings(document.text, tokenizer, rng)]
    packages = list(by_package.values())
    rng.shuffle(packages)
    for prompts in packages:
        rng.shuffle(prompts)
    turns = [prompt for prompt in chain.from_iterable(zip_longest(*packages)) if prompt is not None]
    if len(turns) < count:
        raise ValueError(f"the held-out files give {len(turns)} prompts, fewer than {count}: ask for fewer")
    return [
        {"id": f"held-out-{i:03}", "source": source, "text": text}
        for i, (source, text) in enumerate(turns[:count], start=1)
    ]


def topic_prompts(seed: int = 0) -> dict[str, dict]:
    """For every topic {"source", "prompts"}: pieces of its file that do not overlap, each ending with a line, shuffled.

    Raises ValueError when a topic's file is not installed, is not held out, or is too short.
    """
    packages = tuple(source.split("/")[0] for source in TOPICS.values())
    held = {document.source: document for document in corpus.documents(corpus.sources(packages))}
    found = {}
    for topic, source in TOPICS.items():
        if source not in held or not corpus.is_held_out(held[source].digest):
            raise ValueError(f"the file {source} is not among the held-out ones here: choose another for {topic!r}")
        cut = pieces(held[source].text, TOPIC_LENGTH)
        random.Random(seed).shuffle(cut)
        if len(cut) < TOPIC_PROMPTS:
            raise ValueError(f"{source} gives {len(cut)} prompts, fewer than {TOPIC_PROMPTS}: choose a longer file")
        found[topic] = {"source": source, "prompts": cut[:TOPIC_PROMPTS]}
    return found


def attribute_places(count: int = 48, seed: int = 0) -> list[dict[str, str]]:
    """`count` places behind a dot as {"source", "before", "after", "name"}, at most two a held-out file.

    The dot follows `self` in a method, or a module of the standard library; `name` is the attribute that is read there. "after"
    is what stands behind the function around it: what an editor would know. Raises ValueError when there are fewer.
    """
    rng, found = random.Random(seed), []
    documents = [one for one in corpus.documents(corpus.sources()) if corpus.is_held_out(one.digest)]
    for document in sorted(documents, key=lambda one: one.digest):
        places = list(_places(document.text))
        found += [{"source": document.source, **place} for place in rng.sample(places, min(2, len(places)))]
    rng.shuffle(found)
    if len(found) < count:
        raise ValueError(f"the held-out files give {len(found)} places, fewer than {count}: ask for fewer")
    return found[:count]


def _places(text: str) -> Iterable[dict[str, str]]:
    """Every attribute of `self` or of an imported standard module that is read inside a function of the file."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # another version's syntax
        return
    lines = text.splitlines(keepends=True)
    names = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names if not name.asname}
    roots = {"self"} | (names & sys.stdlib_module_names)
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if not (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and isinstance(node.value, ast.Name)):
                continue
            line = lines[node.value.end_lineno - 1].encode()
            before = "".join(lines[: node.value.end_lineno - 1]) + line[: node.value.end_col_offset].decode() + "."
            right = line[node.value.end_col_offset :].decode().startswith(f".{node.attr}")
            if node.value.id in roots and right and len(before) <= BEFORE:
                after = "".join(lines[function.end_lineno :])[:AFTER]
                yield {"before": before, "after": after, "name": node.attr}


def needle_prompts(tokenizer: Tokenizer, count: int = 16, seed: int = 11) -> list[dict]:
    """`count` questions for each class of distances, over held-out code: {"text", "answer", "distance"}, the distance in tokens.

    The text ends with the question's "=="; the answer is the value behind it. Raises ValueError when the
    held-out files give too few of a class.
    """
    rng = random.Random(seed)
    held = [one.text for one in corpus.documents(corpus.sources()) if corpus.is_held_out(one.digest)]
    found: dict[tuple[int, int], list[dict]] = {place: [] for place in NEEDLES}
    for _ in range(200 * count):
        needle = make_needle(rng, sorted(held))
        case = rng.choice(needle.cases)
        distance = len(tokenizer.encode(needle.text[case.assigned : case.asked], add_special_tokens=False).ids)
        for low, high in NEEDLES:
            if low <= distance < high and len(found[low, high]) < count:
                text, answer = needle.text[: case.start].rstrip(" "), needle.text[case.start : case.end]
                found[low, high].append({"text": text, "answer": answer, "distance": distance})
        if all(len(of) == count for of in found.values()):
            return [one for of in found.values() for one in of]
    raise ValueError(f"the held-out files give fewer than {count} needles of a class: ask for fewer")


def write_prompts(prompts: list | dict, file: Path) -> None:
    """Write the prompts as JSON."""
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(prompts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _openings(text: str, tokenizer: Tokenizer, rng: random.Random) -> Iterable[str]:
    """Up to three openings of one file: its beginning and two of its blocks, each cut to a natural end."""
    body = text[_HEADER.match(text).end() :] if _HEADER.match(text) else text
    blocks = [match.start() for match in _BLOCK.finditer(body)]
    starts = [0, *rng.sample(blocks, min(PER_FILE - 1, len(blocks)))]
    cut = (_cut(body[start:], rng.randint(*LENGTHS), tokenizer) for start in starts)
    return [prompt for prompt in cut if prompt is not None]


def _cut(text: str, tokens: int, tokenizer: Tokenizer) -> str | None:
    """The lines of `text` that fit into `tokens`, to the last end of a paragraph or docstring that keeps 40 tokens."""
    text = text[: tokens * 12]
    token_ends = [end for _, end in tokenizer.encode(text, add_special_tokens=False).offsets]
    lines = text.splitlines(keepends=True)
    place, chosen, chosen_is_natural = 0, None, False
    for line, following in zip(lines, lines[1:], strict=False):
        place += len(line)
        size = bisect_right(token_ends, place)
        if size > tokens:
            break
        is_natural = line.rstrip().endswith(('"""', "'''")) or not following.strip()
        if size >= LENGTHS[0] and line.strip() and (is_natural or not chosen_is_natural):
            chosen, chosen_is_natural = place, is_natural
    return None if chosen is None else text[:chosen]
