"""`labkit bench kernels`: the Triton kernels beside scaled_dot_product_attention on its flash backend, in one run.

Decoding is bound by the bytes that are read: with each kernel are printed the bytes it must move, how many times fewer these are
than what dense attention reads (no kernel can be faster by more), and what share of that is reached. Choosing what to read is a
row of its own, and both together are another. On a GPU every contender is one CUDA graph over eight layers, each with a cache of
its own as in a model, the GPU's own cache emptied before; all take turns and medians are printed. Without a GPU the references
are timed on small shapes on the CPU, which says nothing about the kernels.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Annotated, Any, Callable

import torch
import typer
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from labkit.attention.double_sparsity import quantised
from labkit.bench import contenders as common
from labkit.errors import KnobError
from labkit.kernels.indexed import attend_indexed
from labkit.kernels.labels import best, label_scores
from labkit.kernels.launch import runs_on
from labkit.kernels.sums import attend_summed
from labkit.kernels.tree import attend_tree
from labkit.models import device_of

SHAPE = (32, 8, 128)  # query heads, key-value heads, head size: those of an 8B model
SMALL = (8, 2, 64)
LENGTHS, SHORT = (4096, 16384, 65536, 131072), (256, 1024)
SHARE, CHANNELS, BITS = 16, 16, 4  # one token of so many is read, chosen by labels of so many channels and bits
NODES = 64  # of a tree
SQUARES = 16384  # the longest prompt whose column sums are timed: work grows with its square
LAYERS = 8
COLUMNS = {"microseconds": "us", "vs_dense": "x dense", "megabytes": "MB", "bound": "bytes allow x", "reached": "reached"}
NO_GPU = "The kernels need an NVIDIA GPU (Ampere or newer) and Triton: here are their plain-torch references, small, on {}."


class Layer:
    """One layer's cache of `length` random tokens, its labels, and what asks it."""

    def __init__(self, shape: tuple[int, int, int], length: int, device: torch.device, dtype: torch.dtype):
        heads, kv_heads, size = shape

        def some(*wanted: int) -> Tensor:
            return torch.randn(*wanted, device=device, dtype=dtype)

        self.keys, self.values = some(kv_heads, length, size), some(kv_heads, length, size)
        self.query = some(kv_heads, heads // kv_heads, size) / size**0.5
        self.drafted = some(kv_heads, heads // kv_heads * NODES, size) / size**0.5
        self.held = quantised(self.keys[..., :CHANNELS], str(BITS))
        self.index = self.choose()

    def choose(self) -> Tensor:
        """By labels, the slots to be read."""
        scores = label_scores(self.query[..., :CHANNELS].sum(1), self.held, str(BITS))
        return best(scores, max(1, scores.shape[1] // SHARE))

    def mask(self) -> Tensor:
        """The additive mask of a binary tree over the newest NODES tokens."""
        mask = torch.full((NODES, NODES), float("-inf"), device=self.keys.device, dtype=self.keys.dtype)
        for node in range(NODES):
            if node:
                mask[node] = mask[(node - 1) // 2]
            mask[node, node] = 0
        return mask


def dense(query: Tensor, keys: Tensor, values: Tensor, causal: bool = False) -> Tensor:
    """Dense attention [1, heads, n, size] of grouped queries, already scaled, on the flash backend where there is a GPU."""
    if not keys.is_cuda:
        return scaled_dot_product_attention(query, keys[None], values[None], is_causal=causal, scale=1.0, enable_gqa=True)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return scaled_dot_product_attention(query, keys[None], values[None], is_causal=causal, scale=1.0, enable_gqa=True)


def size_of(*held: Tensor) -> int:
    """Bytes of tensors."""
    return sum(part.nelement() * part.element_size() for part in held)


def decoding(layers: list[Layer]) -> dict[str, tuple[Callable, int, str]]:
    """Who decodes: what a layer is asked, the bytes that must move, and whose time it is measured by."""
    first = layers[0]
    cache, labels = size_of(first.keys, first.values), size_of(*first.held.values())
    rows = cache * first.index.shape[1] // first.keys.shape[1] + size_of(first.index)
    mask = first.mask()
    return {
        "dense, SDPA": (lambda layer: dense(layer.query.flatten(0, 1)[None, :, None], layer.keys, layer.values), cache, ""),
        f"indexed, 1/{SHARE}": (
            lambda layer: attend_indexed(layer.query, layer.keys, layer.values, layer.index), rows, "dense, SDPA",
        ),
        "choosing them": (lambda layer: layer.choose(), labels, ""),
        "  its label scores": (
            lambda layer: label_scores(layer.query[..., :CHANNELS].sum(1), layer.held, str(BITS)), labels, "",
        ),
        "indexed, choosing included": (
            lambda layer: attend_indexed(layer.query, layer.keys, layer.values, layer.choose()), rows + labels, "dense, SDPA",
        ),
        f"{NODES} nodes, SDPA as a chain": (
            lambda layer: dense(layer.drafted.view(1, -1, NODES, layer.keys.shape[2]), layer.keys, layer.values), cache, "",
        ),
        f"{NODES} nodes, a tree": (
            lambda layer: attend_tree(layer.drafted, layer.keys, layer.values, mask), cache, f"{NODES} nodes, SDPA as a chain",
        ),
    }  # fmt: skip


def prompting(layers: list[Layer]) -> dict[str, tuple[Callable, int | None, str]]:
    """Who reads a prompt: the whole of it at once, causally."""
    first = layers[0]
    (kv_heads, length, size), group = first.keys.shape, first.query.shape[1]
    query = torch.randn(kv_heads, group, length, size, device=first.keys.device).to(first.keys.dtype) / size**0.5
    places = torch.arange(length, device=query.device)
    positions = places.int().expand(kv_heads, -1)
    return {
        "prompt, SDPA": (lambda layer: dense(query.flatten(0, 1)[None], layer.keys, layer.values, True), None, ""),
        "prompt with column sums": (
            lambda layer: attend_summed(query, layer.keys, layer.values, places, positions), None, "prompt, SDPA",
        ),
    }  # fmt: skip


def graphed(work: Callable[[], Any]) -> Callable[[], Any]:
    """`work` as one CUDA graph, compiled and warm: so that what is timed is the GPU's part."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def timer(device: torch.device) -> Callable[[Callable[[], Any]], float]:
    """Seconds that a piece of work takes: by the GPU's own clock behind an emptied cache, or by the CPU's."""
    if device.type != "cuda":

        def by_cpu(work):
            began = time.perf_counter()
            work()
            return time.perf_counter() - began

        return by_cpu
    spoil = torch.empty(2**28, dtype=torch.int8, device=device)  # 256 MB, more than any GPU's cache

    def by_gpu(work):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        spoil.zero_()
        begin.record()
        work()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    return by_gpu


def timed(playing: dict[str, tuple[Callable, int | None, str]], layers: list[Layer], repeats: int) -> list[dict[str, Any]]:
    """One row a contender: the median time of a layer over `repeats` rounds, in which all take turns."""
    device = layers[0].keys.device
    measure = timer(device)

    def through(ask: Callable[[Layer], Any]) -> Callable[[], None]:
        def work():
            for layer in layers:
                ask(layer)

        return graphed(work) if device.type == "cuda" else work

    works = {name: through(ask) for name, (ask, _, _) in playing.items()}
    spent: dict[str, list[float]] = {name: [] for name in playing}
    for turn in range(repeats + 1):
        for name, work in works.items():
            seconds = measure(work) / len(layers)
            spent[name] += [seconds] if turn else []  # the first round warms up
    rows = []
    for name, (_, moved, rival) in playing.items():
        row = {"name": name, "microseconds": 1e6 * statistics.median(spent[name])}
        row["megabytes"] = moved / 1e6 if moved else None
        if rival:
            row["vs_dense"] = statistics.median(theirs / mine for mine, theirs in zip(spent[name], spent[rival]))
            if moved:
                row["bound"] = playing[rival][1] / moved
                row["reached"] = row["vs_dense"] / row["bound"]
        rows.append(row)
    return rows


@torch.inference_mode()
def bench(lengths: tuple[int, ...] = (), repeats: int = 20, device: str = "") -> dict[str, Any]:
    """Time every kernel at every length; plain data, one section a length. Raises `KnobError` on a length that is too short."""
    kernels = runs_on(place := device_of(device))
    place = place if kernels else torch.device("cpu")
    shape, dtype, layers = (SHAPE, torch.bfloat16, LAYERS) if kernels else (SMALL, torch.float32, 1)
    lengths = lengths or (LENGTHS if kernels else SHORT)
    if min(lengths) < NODES:
        raise KnobError(f"A length of {min(lengths)} is asked for: give {NODES} or more, the nodes of the tree.")
    sections = []
    torch.manual_seed(0)
    for length in lengths:
        cache = [Layer(shape, length, place, dtype) for _ in range(layers)]
        rows = timed(decoding(cache), cache, repeats)
        if length <= SQUARES:
            rows += timed(prompting(cache[:1]), cache[:1], repeats)
        sections.append({"length": length, "rows": rows})
    name = torch.cuda.get_device_name(place) if kernels else "the CPU"
    about = {"kernels": kernels, "device": name, "heads": shape[0], "kv_heads": shape[1], "size": shape[2]}
    return {**about, "dtype": str(dtype).removeprefix("torch."), "rounds": repeats, "sections": sections}


app = typer.Typer(add_completion=False)


@app.command()
def main(
    length: Annotated[list[int], typer.Option(min=1, max=1_048_576, help="tokens held; may be given several times")] = (),
    repeats: Annotated[int, typer.Option(min=1, help="rounds")] = 20,
    device: common.Device = "", threads: common.Threads = 0, as_json: common.Json = False,
) -> None:  # fmt: skip
    """Time the Triton kernels against dense attention, and say what the bytes allow.

    Example: labkit bench kernels --length 131072 --device cuda --json
    """
    if threads:
        torch.set_num_threads(threads)
    result = bench(tuple(length), repeats, device)
    if as_json:
        return print(json.dumps(result, indent=1))
    console = common.paper()
    if not result["kernels"]:
        console.print(NO_GPU.format(result["device"]), soft_wrap=True)
    shape = f"{result['heads']} query and {result['kv_heads']} key-value heads of {result['size']}, {result['dtype']}"
    console.print(f"{result['device']}: {shape}; a layer, medians of {repeats} rounds, in turn", soft_wrap=True)
    for section in result["sections"]:
        console.print(common.table(f"{section['length']:,} tokens", COLUMNS, section["rows"]))
