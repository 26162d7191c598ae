"""Texts that every install has: code, style sheets, licences, headers, and the same phrases in many languages.

Nothing is downloaded: Python comes from the corpus of `labkit.train.corpus`, the others from the files of the installed
packages, the parallel phrases from Babel's copy of Unicode's locale data.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from labkit.errors import KnobError
from labkit.train.corpus import documents, is_held_out, is_permissive, licence_of, sources

DOMAINS = ("python", "css", "legal", "c++")
SUFFIXES = {"css": (".css",), "c++": (".h", ".hpp", ".cuh")}
LICENCES = ("license", "licence", "copying", "notice")
LARGEST_FILE = 200_000  # bytes
PARTS = ("languages", "territories", "scripts", "currency_names", "variants")  # of a locale's data: name to phrase


@cache
def domain(name: str, kilobytes: int = 400, held_out: bool = False) -> tuple[str, ...]:
    """Whole texts of a domain, each once, together about `kilobytes` long; never one of the other split.

    The order is that of the texts' hashes: a fair sample, the same wherever the same packages are installed. Raises
    `KnobError` on an unknown domain.
    """
    if name not in DOMAINS:
        raise KnobError(f"There is no domain {name!r}: choose one of {', '.join(DOMAINS)}.")
    found, room = [], 1000 * kilobytes
    for digest, path in _hashed(name):
        if room > 0 and _away(digest) == held_out:
            found.append(path.read_text(encoding="utf-8"))
            room -= len(found[-1].encode())
    return tuple(found)


def _away(digest: str) -> bool:
    """Is a text with this hash kept away from training? One in five, for the domains are small; the models' own among them."""
    return is_held_out(digest) or int(digest[:8], 16) % 5 == 0


@cache
def _hashed(name: str) -> tuple[tuple[str, Path], ...]:
    """The hash of each text of a domain, and a file that holds it, in the order of the hashes."""
    if name == "python":
        (library,) = sources(())
        places = dict(library.files)
        found = {document.digest: places[document.source] for document in documents([library])}
    else:
        found = {hashlib.sha256(text.encode()).hexdigest(): path for path in _files(name) if (text := _read(path))}
    return tuple(sorted(found.items()))


def _files(name: str) -> Iterator[Path]:
    for distribution in importlib.metadata.distributions():
        if not is_permissive(licence_of(distribution.metadata)):
            continue
        for file in distribution.files or ():
            small = file.name.lower()
            if small.startswith(LICENCES) if name == "legal" else small.endswith(SUFFIXES[name]) and ".min." not in small:
                yield Path(file.locate())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.stat().st_size <= LARGEST_FILE else ""
    except (OSError, UnicodeDecodeError):
        return ""


@cache
def phrases(locale: str) -> dict[str, str]:
    """A language's words for languages, places, scripts and currencies: key (the same in all languages) to phrase.

    Raises `KnobError` when Babel does not know the locale.
    """
    from babel import Locale, UnknownLocaleError

    try:
        found = Locale.parse(locale)
    except (UnknownLocaleError, ValueError):
        raise KnobError(f"There is no locale {locale!r:.40}: choose one such as en, fi, ru, ja, ar.") from None
    named = {f"{part}.{key}": str(text) for part in PARTS for key, text in found._data[part].items() if isinstance(text, str)}
    for part in ("months", "days"):
        for width in ("wide", "abbreviated"):
            named |= {f"{part}.{width}.{key}": text for key, text in getattr(found, part)["format"][width].items()}
    cities = {name: zone.get("city") for name, zone in found._data["time_zones"].items() if isinstance(zone, dict)}
    return named | {f"city.{name}": city for name, city in cities.items() if isinstance(city, str)}


def parallel(locales: tuple[str, ...]) -> list[str]:
    """The keys that all these locales have a phrase for, sorted. Raises `KnobError` as `phrases` does."""
    return sorted(set.intersection(*(set(phrases(locale)) for locale in locales)))
