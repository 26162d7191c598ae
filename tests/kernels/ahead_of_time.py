"""Compiles every kernel, bfloat16, for a GPU of the given compute capability; prints the names of those that came through."""

from __future__ import annotations

import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from labkit.kernels import indexed, labels, merge, sums, tree

WHOLE, HALVES = "*fp32", "*bf16"
INPUTS = {"query": HALVES, "keys": HALVES, "values": HALVES}
PARTS = {"out": WHOLE, "sums": WHOLE}
PLACES = {name: "*i32" for name in ("places", "positions", "stops", "begins")}
GROUPED = {"GROUP": 4, "SIZE": 32, "BLOCK_G": 16, "BLOCK_D": 32, "BLOCK_M": 16}
TREE = {"MASKED": True, "SIZE": 32, "BLOCK_R": 16, "BLOCK_D": 32, "BLOCK_N": 16}
SQUARE = {"SIZE": 32, "BLOCK_Q": 16, "BLOCK_N": 16, "BLOCK_D": 32}
CODES = {"part": HALVES, "label": "*u8", "low": "*fp16", "step": "*fp16", "scores": WHOLE}
PACKED = {"BITS": 4, "PACKED": True, "SIZE": 16, "WIDTH": 8, "BLOCK_W": 8, "BLOCK_N": 256}
KERNELS = {
    "indexed": (indexed._attend, INPUTS | PARTS | {"index": "*i64"}, GROUPED),
    "tree": (tree._attend, INPUTS | PARTS | {"mask": HALVES}, TREE),
    "sums": (sums._attend, INPUTS | PLACES | {"out": HALVES, "whole": WHOLE}, SQUARE),
    "columns": (sums._columns, INPUTS | PLACES | {"sums": WHOLE, "whole": WHOLE}, SQUARE),
    "merge": (merge._merge, PARTS | {"parts": WHOLE, "out": HALVES, "whole": WHOLE}, {"SIZE": 32, "BLOCK_S": 8, "BLOCK_D": 32}),
    "labels": (labels._scores, CODES, PACKED),
}

for name, (kernel, pointers, constants) in KERNELS.items():
    names = kernel.compiled.arg_names
    signature = {each: "constexpr" if each in constants else pointers.get(each, "i32") for each in names}
    compiled = triton.compile(ASTSource(kernel.compiled, signature, constants), GPUTarget("cuda", int(sys.argv[1]), 32))
    if compiled.asm["cubin"]:
        print(name)
