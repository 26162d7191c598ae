"""Ray as the lab uses it: one of its own on this machine unless an address is given, quiet, and telling nobody anything."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from labkit.errors import LabError

STORE = 128 * 2**20  # bytes of Ray's own object store on this machine: a run's answer is a few kilobytes


def needed(*modules: str) -> None:
    """Import `modules`. Raises `LabError` when one is not installed."""
    for name in modules:
        try:
            __import__(name)
        except ModuleNotFoundError as missing:
            raise LabError(
                f"{missing.name!r} is not installed, and this command needs it: pip install 'labkit[cluster]'."
            ) from None


def join(address: str = "", cpus: int = 0) -> Any:
    """Ray, connected: to the cluster at `address` (host:port, or "auto"), else one of its own with `cpus` cores (0 = all).

    Its workers see the `LABKIT_*` variables of this process. Raises `LabError` when Ray is missing or does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    needed("ray")
    import ray

    if address not in ("", "auto"):
        _reach(address)
    mine = {name: value for name, value in os.environ.items() if name.startswith("LABKIT_")}
    own = {"num_cpus": cpus or None, "include_dashboard": False, "object_store_memory": STORE, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(
            address=address or "local",
            runtime_env={"env_vars": mine},
            logging_level=logging.ERROR,
            log_to_driver=False,
            **({} if address else own),
        )
    except (ConnectionError, ValueError, RuntimeError, OSError) as refused:
        if not address:
            raise LabError(f"Ray does not start here ({_first(refused)}): mend that, and try again.") from None
        raise LabError(
            f"No Ray cluster answers at {address!r} ({_first(refused)}): start one with `ray start --head`, or leave the "
            "address out."
        ) from None
    return ray


def gpus(ray: Any) -> int:
    """How many GPUs a replica or a cell takes: one where the cluster has any."""
    return 1 if ray.cluster_resources().get("GPU") else 0


def _reach(address: str) -> None:
    """Raise `LabError` when nothing listens at `address`: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError, OverflowError):
        raise LabError(
            f"No Ray cluster answers at {address!r}: write its head as host:port, start one with `ray start --head`, or leave "
            "the address out."
        ) from None


def _first(error: Exception) -> str:
    """The first words of an error that may be pages long."""
    return str(error).strip().split("\n")[0][:120].rstrip(".")
