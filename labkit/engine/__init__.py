"""The engine runs requests: in this process, or as a server that many kernels share. Importing this loads no torch."""

from functools import cache

from labkit.engine.protocol import Engine, MethodInfo, ModelInfo, Status, TransformInfo

__all__ = ["Engine", "MethodInfo", "ModelInfo", "Status", "TransformInfo", "connect", "shared"]


def connect(address: str | None = None) -> Engine:
    """The engine at `address` (or `LABKIT_ENGINE`, host:port) when one answers, else one in this process.

    Cheap: nothing is opened and no torch is imported before the first request.
    """
    from labkit.engine.client import choose

    return choose(address)


@cache
def shared() -> Engine:
    """What `connect()` gives, the same one each time: all benches of a kernel are one visitor, and load no models twice."""
    return connect()
