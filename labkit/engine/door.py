"""Who may come in: pages of this machine, and, where the engine has a token, only those who know it. Imports no torch."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from labkit.errors import EngineError

TOKEN = "LABKIT_ENGINE_TOKEN"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def token(given: str | None = None) -> str:
    """The token as `given`, else of `LABKIT_ENGINE_TOKEN`; empty when there is none.

    Raises `EngineError` when it cannot stand in a header of HTTP; the sentence keeps the token to itself.
    """
    chosen = os.environ.get(TOKEN, "") if given is None else given
    if not (chosen.isascii() and chosen.isprintable()) or " " in chosen:
        raise EngineError(f"{TOKEN} has a space or a sign beyond ASCII: use letters, digits and -._~ only.")
    return chosen


def header(token: str) -> dict[str, str]:
    """The header that shows `token`; none for none."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def knows(headers: Mapping[str, str], token: str) -> bool:
    """Whether `headers` show `token`, compared in a time that tells nothing about it."""
    shown = headers.get("authorization", "").encode("utf-8", "surrogateescape")
    return hmac.compare_digest(shown, f"Bearer {token}".encode())


def is_at_home(origin: str | None) -> bool:
    """Notebooks send no Origin; a browser does, and only pages of this machine may come in."""
    if origin is None:
        return True
    try:
        return urlsplit(origin).hostname in LOOPBACK
    except ValueError:
        return False


def check_guarded(host: str, token: str, open_to_all: bool) -> None:
    """Raise `EngineError` when other machines reach `host`, there is no token, and nobody said that this is meant."""
    if host not in LOOPBACK and not token and not open_to_all:
        raise EngineError(
            f"Whoever reaches {host} could use this engine: give it a token (--token or {TOKEN}), "
            "or say --open-to-all if that is meant."
        )
