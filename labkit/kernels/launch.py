"""What every kernel needs to be started: a `jit` that waits for the first launch, who may run, and how work is split."""

from __future__ import annotations

from functools import cache, cached_property
from importlib.util import find_spec

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
PER_PROCESSOR = 4  # programs that keep one processor of the GPU busy while others wait for memory


class jit:
    """`triton.jit`, put off until the kernel is launched: only then is Triton imported, as the kernel's global `tl`."""

    def __init__(self, function):
        self.function = function

    @cached_property
    def compiled(self):
        """The function as Triton has it: compiled for the GPU, or interpreted where TRITON_INTERPRET=1 was set before."""
        import triton
        import triton.language

        names = self.function.__globals__
        names["tl"] = triton.language
        for name in self.function.__code__.co_names:  # functions that this one calls on the GPU
            if isinstance(helper := names.get(name), jit):
                names[name] = helper.compiled
        return triton.jit(self.function)

    def __getitem__(self, grid):
        return self.compiled[grid]


@cache
def runs_on(device: torch.device) -> bool:
    """Whether kernels run there: an NVIDIA GPU of the Ampere generation or newer, with Triton installed."""
    if device.type != "cuda" or torch.version.cuda is None or find_spec("triton") is None:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def fits(tensor: Tensor) -> bool:
    """Whether a kernel can take `tensor`: it lies where kernels run, in 32 or 16 bits."""
    return tensor.is_cuda and tensor.dtype in DTYPES and runs_on(tensor.device)


def wide(size: int, least: int = 16) -> int:
    """The power of two that holds `size`; a product of tiles wants 16 at least."""
    return max(least, 1 << (size - 1).bit_length())


def tile(held: Tensor) -> int:
    """How many rows [..., D] of `held` a program reads at once: 64, fewer where they would not fit its shared memory."""
    return max(16, min(64, 16384 // (wide(held.shape[-1]) * held.element_size())))


def flat(held: Tensor) -> Tensor:
    """[..., N, D] as [H, N, D] whose numbers of one row lie side by side; a view where that is possible."""
    held = held.flatten(0, -3)
    return held if held.stride(-1) == 1 else held.contiguous()


@cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def shares(length: int, programs: int, block: int, device: torch.device) -> tuple[int, int]:
    """`length` columns cut for split-K: (columns a share, a multiple of `block`; shares), so that all processors have work.

    `programs` is how many there would be without a cut.
    """
    blocks = max(1, -(-length // block))
    wanted = max(1, min(blocks, PER_PROCESSOR * _processors(device) // programs))
    share = -(-blocks // wanted) * block
    return share, max(1, -(-length // share))
