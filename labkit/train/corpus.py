"""The training text: Python source that every install already has, permissive licences only.

The Python standard library and an explicit list of this project's dependencies. A file is held out by the hash of its
own content, so the same file is held out on every machine, in every version of the corpus, wherever it lies.
"""

import hashlib
import importlib.metadata
import os
import platform
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageMetadata
from pathlib import Path

STANDARD_LIBRARY = "python"

PACKAGES = (
    "anyio",
    "anywidget",
    "asttokens",
    "babel",
    "beautifulsoup4",
    "click",
    "comm",
    "executing",
    "filelock",
    "fsspec",
    "h11",
    "httpcore",
    "httpx",
    "huggingface_hub",
    "idna",
    "ipykernel",
    "ipython",
    "ipywidgets",
    "jedi",
    "jinja2",
    "jsonschema",
    "jupyter_client",
    "jupyter_core",
    "jupyter_events",
    "jupyter_server",
    "jupyterlab",
    "jupyterlab_server",
    "markdown-it-py",
    "mistune",
    "mpmath",
    "msgspec",
    "narwhals",
    "nbclient",
    "nbconvert",
    "nbformat",
    "networkx",
    "notebook_shim",
    "numpy",
    "packaging",
    "parso",
    "pexpect",
    "platformdirs",
    "playwright",
    "plotly",
    "pluggy",
    "prompt_toolkit",
    "psutil",
    "psygnal",
    "pydantic",
    "pygments",
    "pytest",
    "python-dateutil",
    "pyyaml",
    "pyzmq",
    "referencing",
    "requests",
    "rich",
    "safetensors",
    "scipy",
    "setuptools",
    "six",
    "soupsieve",
    "starlette",
    "stack-data",
    "sympy",
    "tinycss2",
    "tokenizers",
    "torch",
    "tornado",
    "traitlets",
    "transformers",
    "typer",
    "typing_extensions",
    "urllib3",
    "uvicorn",
    "voila",
    "wcwidth",
    "websockets",
)

PERMISSIVE = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "CNRI-Python",
        "HPND",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "PSF-2.0",
        "Python-2.0",
        "Unlicense",
        "Zlib",
    }
)
_CLASSIFIER = re.compile(r"License :: OSI Approved :: (MIT|BSD|Apache Software|ISC|Python Software Foundation|HPND)\b")
_FREE_TEXT = re.compile(r"(the )?(new )?(MIT|BSD|Apache|ISC|PSF|Python Software Foundation|HPND)\b", re.IGNORECASE)
_COPYLEFT = re.compile(r"\b(A?GPL|LGPL|MPL|EPL|GNU|Mozilla|copyleft)", re.IGNORECASE)

# Folders with other people's code, generated code that repeats itself, or text that is not code.
SKIPPED_FOLDERS = frozenset(
    {
        "__pycache__",
        "_vendor",
        "_vendored",
        "vendor",
        "vendored",
        "third_party",
        "externals",
        "extern",
        "site-packages",
        "lib2to3",
        "idlelib",
        "parsetab",
        "validators",
        "graph_objs",
        "locale-data",
    }
)
LENGTHS = (300, 200_000)  # characters
DIGIT_SHARE = 0.15  # above it a file is a table of data
LARGEST_SOURCE = 24_000_000  # characters: three big libraries must not drown the rest
HELD_OUT_MODULUS = 100  # one file in a hundred


@dataclass(frozen=True)
class Source:
    """One distribution whose files may be used: its name, version, licence as it states it, and its Python files."""

    name: str
    version: str
    licence: str
    files: tuple[tuple[str, Path], ...]  # (name inside the distribution, place on disk), sorted by name


@dataclass(frozen=True)
class Document:
    """One source file: where it comes from ("networkx/algorithms/dag.py"), its text and its SHA-256 in hexadecimal."""

    source: str
    package: str
    text: str
    digest: str


def licence_of(metadata: PackageMetadata) -> str:
    """What a distribution's metadata states: its SPDX expression, else its classifiers, else its first licence line."""
    if expression := metadata.get("License-Expression"):
        return expression
    classifiers = [text for text in metadata.get_all("Classifier") or [] if text.startswith("License ::")]
    if classifiers:
        return "; ".join(classifiers)
    return next((line.strip() for line in (metadata.get("License") or "").splitlines() if line.strip()), "")


def is_permissive(licence: str) -> bool:
    """Whether a licence statement (see `licence_of`) allows the text's use here: MIT, BSD, Apache, PSF, ISC, HPND kin.

    An SPDX expression passes when every part joined by AND is permissive and, of parts joined by OR, at least one is.
    What is unknown does not pass.
    """
    if licence.startswith("License ::"):
        return all(_CLASSIFIER.match(part) for part in licence.split("; "))
    terms = re.split(r"\s+AND\s+", licence.replace("(", "").replace(")", ""))
    if all(any(_is_listed(choice) for choice in re.split(r"\s+OR\s+", term)) for term in terms):
        return True
    return bool(_FREE_TEXT.match(licence)) and not _COPYLEFT.search(licence)


def _is_listed(term: str) -> bool:
    return term.split(" WITH ")[0].strip() in PERMISSIVE


def is_held_out(digest: str) -> bool:
    """Whether the file with this SHA-256 (hexadecimal) is kept away from training: one in a hundred, by hash alone."""
    return int(digest, 16) % HELD_OUT_MODULUS == 0


def is_code(text: str) -> bool:
    """Whether a file is worth learning from: 300 to 200,000 characters, at most 15 % of them digits."""
    return LENGTHS[0] < len(text) < LENGTHS[1] and sum(map(text.count, "0123456789")) <= DIGIT_SHARE * len(text)


def sources(packages: tuple[str, ...] = PACKAGES) -> list[Source]:
    """The standard library and those of `packages` that are installed and permissive, sorted by name."""
    library = Path(sysconfig.get_paths()["stdlib"])
    found = [(path.relative_to(library), path) for path in _python_files(library)]
    standard = Source(STANDARD_LIBRARY, platform.python_version(), "PSF-2.0", _kept(STANDARD_LIBRARY, found))
    return [standard, *(source for name in sorted(packages) if (source := _installed(name)))]


def _python_files(folder: Path) -> Iterator[Path]:
    for place, inside, names in os.walk(folder):
        inside[:] = set(inside) - SKIPPED_FOLDERS  # other people's packages lie in one of them
        yield from (Path(place, name) for name in names if name.endswith(".py"))


def _installed(name: str) -> Source | None:
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    licence = licence_of(distribution.metadata)
    if not is_permissive(licence):
        return None
    found = [(Path(file), Path(distribution.locate_file(file))) for file in distribution.files or []]
    python = [(inside, path) for inside, path in found if inside.suffix == ".py" and ".." not in inside.parts]
    return Source(name, distribution.version, licence, _kept("", python))


def _kept(prefix: str, found: list[tuple[Path, Path]]) -> tuple[tuple[str, Path], ...]:
    named = [(Path(prefix, inside).as_posix(), path) for inside, path in found]
    return tuple(sorted((name, path) for name, path in named if not SKIPPED_FOLDERS & set(name.split("/")[:-1])))


def documents(chosen: list[Source]) -> Iterator[Document]:
    """Every usable file of the sources once (by content), at most `LARGEST_SOURCE` characters a source.

    Within a source the order is that of the hashes, so that what a limit cuts off is a fair sample; each source's order
    stays the same from one machine to the next.
    """
    seen: set[str] = set()
    for source in chosen:
        fresh = []
        for name, path in source.files:
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            digest = hashlib.sha256(text.encode()).hexdigest()
            if digest not in seen and is_code(text):
                seen.add(digest)
                fresh.append(Document(name, source.name, text, digest))
        characters = 0
        for document in sorted(fresh, key=lambda document: document.digest):
            characters += len(document.text)
            if characters <= LARGEST_SOURCE:
                yield document


def training_library(every: int) -> Iterator[str]:
    """Training texts that every install has: one file in `every` of the standard library, none held out."""
    (standard,) = sources(())
    some = replace(standard, files=standard.files[::every])
    return (document.text for document in documents([some]) if not is_held_out(document.digest))
