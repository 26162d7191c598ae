"""`labkit cluster`: the engine's own ASGI app under Ray Serve, one replica a GPU (or a core), as many as visitors need.

A visitor's WebSocket goes through Serve's proxy to one replica, and its runs live there. When a replica is lost its
visitors connect again, to another one, and their runs are repeated up to where they were. What decides how many replicas
there are, and where, is Ray.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from typing import Annotated, Any

import typer

from labkit.cluster.join import gpus, join, needed
from labkit.engine.frames import PATH
from labkit.engine.limits import Limits
from labkit.engine.server import app as engine
from labkit.engine.server import listen
from labkit.errors import LabError

NAME = "labkit"


def deployment(limits: Limits, replicas: tuple[int, int], visitors: int, gpus: int) -> Any:
    """The engine as a Serve application: from `replicas[0]` to `replicas[1]` of them, some `visitors` each."""
    from ray import serve

    made = serve.deployment(
        name="engine",
        max_ongoing_requests=limits.max_visitors,  # an open WebSocket is a request under way
        autoscaling_config={
            "min_replicas": replicas[0],
            "max_replicas": replicas[1],
            "target_ongoing_requests": visitors,
        },
        ray_actor_options={"num_cpus": 1, "num_gpus": gpus},
        graceful_shutdown_timeout_s=5,  # visitors of a replica that goes are told, and connect to another one
    )(serve.ingress(engine)())
    return made.bind()


def start(ray: Any, host: str, port: int, replicas: tuple[int, int], visitors: int) -> int:
    """Serve on the head node's `host`:`port` (0 takes a free one); the port, once a replica answers.

    Raises `EngineError` when the port is taken.
    """
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    with listen(host, port) as probe:
        port = probe.getsockname()[1]
    serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port})
    serve.run(deployment(Limits.from_environment(), replicas, visitors, gpus(ray)), name=NAME, route_prefix="/")
    return port


app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def main(
    address: Annotated[str, typer.Option(help="a Ray cluster, host:port or auto; left out, one on this machine")] = "",
    replicas: Annotated[tuple[int, int], typer.Option(metavar="MIN MAX", help="how few and how many replicas")] = (1, 4),
    visitors: Annotated[int, typer.Option(min=1, help="visitors a replica, beyond which another one starts")] = 20,
    host: Annotated[str, typer.Option(help="the address to listen on, on the cluster's head")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="LABKIT_ENGINE_PORT", help="the port; 0 takes a free one")] = 8765,
) -> None:
    """Serve the engine from many machines with Ray Serve, until Ctrl-C.

    Example: labkit cluster --address auto --replicas 1 8
    """
    if not 1 <= replicas[0] <= replicas[1]:
        raise LabError(f"From {replicas[0]} to {replicas[1]} replicas are asked for: choose 1 or more, and MAX not below MIN.")
    needed("ray.serve")
    ray = join(address)
    from ray import serve

    try:
        found = start(ray, host, port, replicas, visitors)
        print(f"labkit cluster: ws://{f'[{host}]' if ':' in host else host}:{found}{PATH}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            threading.Event().wait()
    finally:
        if address:  # a Ray of our own ends with all that runs on it
            serve.delete(NAME)
        ray.shutdown()
