"""Extractive questions about held-out code, with the answers that the code's own syntax tree gives."""

import ast
import random
from collections import defaultdict
from collections.abc import Iterator

from tokenizers import Tokenizer

from labkit.train import corpus

LENGTHS = (30, 64)  # tokens of a document
EXAMPLES, EXAMPLE_LENGTHS = 4, (15, 48)  # a kind, shown in the prompt and never asked
PER_FILE = 2  # questions of one kind
LONGEST_ANSWER = 12  # tokens
AROUND = 5  # lines on either side of an assignment, at most


def extraction_questions(tokenizer: Tokenizer, count: int = 40, seed: int = 0) -> dict[str, list[dict[str, str]]]:
    """{"examples", "questions"}, each a list of {"kind", "source", "document", "asks", "answer"}; the kinds take turns.

    Kind "value": some lines of code around `name = constant`, and "assert name ==". Kind "import": a whole function or class,
    and "from module import". The answer stands in the document as a run of the document's own tokens. Examples come from
    other files than questions. Raises ValueError when the held-out files give fewer than `count`.
    """
    rng = random.Random(seed)
    held = [document for document in corpus.documents(corpus.sources()) if corpus.is_held_out(document.digest)]
    files = sorted(held, key=lambda document: document.digest)
    rng.shuffle(files)
    examples, asked = defaultdict(list), defaultdict(list)
    for file in files:
        by_kind = defaultdict(list)
        for question in _found(file, rng):
            by_kind[question["kind"]].append(question)
        used = False
        for kind, questions in by_kind.items():
            rng.shuffle(questions)
            short = [question for question in questions if _fits(question, tokenizer, EXAMPLE_LENGTHS)]
            if short and len(examples[kind]) < EXAMPLES:
                examples[kind].append(short[0])
                used = True
        if not used:
            for kind, questions in by_kind.items():
                fitting = [question for question in questions if _fits(question, tokenizer, LENGTHS)]
                asked[kind] += fitting[:PER_FILE]
    short_of = min(map(len, asked.values()), default=0)
    if 2 * short_of < count or len(asked) < 2:
        raise ValueError(f"the held-out files give {short_of} questions of one kind, fewer than {count // 2}: ask for fewer")
    turns = [question for pair in zip(asked["value"], asked["import"]) for question in pair]
    return {"examples": examples["value"] + examples["import"], "questions": turns[:count]}


def _found(file: corpus.Document, rng: random.Random) -> Iterator[dict[str, str]]:
    """Every question that this file could give."""
    try:
        tree = ast.parse(file.text)
    except (SyntaxError, ValueError):
        return
    lines = file.text.splitlines(keepends=True)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            document = ast.get_source_segment(file.text, node) + "\n"
            yield _question("import", file, document, "from module import", node.name)
    for node in ast.walk(tree):
        if _is_plain(node):
            first, last = max(0, node.lineno - 1 - rng.randint(1, AROUND)), node.lineno + rng.randint(1, AROUND)
            document, name = _flush("".join(lines[first:last])), node.targets[0].id
            if document.count(f"{name} = ") == 1:
                answer = ast.get_source_segment(file.text, node.value)
                yield _question("value", file, document, f"assert {name} ==", answer)


def _is_plain(node: ast.AST) -> bool:
    """Is it `name = number` or `name = "text"` on one line?"""
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and type(node.value.value) in (int, float, str)
        and node.lineno == node.end_lineno
    )


def _flush(text: str) -> str:
    """The lines moved to the left together, no empty ones at the ends, one newline behind."""
    lines = text.strip("\n").split("\n")
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[indent:] for line in lines) + "\n"


def _question(kind: str, file: corpus.Document, document: str, asks: str, answer: str) -> dict[str, str]:
    return {"kind": kind, "source": file.source, "document": document, "asks": asks, "answer": answer}


def _fits(question: dict[str, str], tokenizer: Tokenizer, lengths: tuple[int, int]) -> bool:
    """Is the document as long as asked, and the answer one run of its tokens?"""
    encoding = tokenizer.encode(question["document"], add_special_tokens=False)
    if not lengths[0] <= len(encoding.ids) <= lengths[1]:
        return False
    runs = (encoding.ids[i : i + n] for i in range(len(encoding.ids)) for n in range(1, LONGEST_ANSWER + 1))
    return any(tokenizer.decode(run).strip() == question["answer"] for run in runs)
