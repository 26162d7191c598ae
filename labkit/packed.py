"""A long list, packed: blocks of gzipped JSON, of which only the ones being read are open.

Each block is one member of a gzip file and one line of JSON, a list; so a file of them is what `zcat` shows, and any block
can be opened alone. A trace of 100,000 tokens takes 25 MB in this form and 300 to 1,000 MB as objects.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

MAGIC = b"\x1f\x8b"  # how a gzip file begins
BLOCK = 128 * 2**10  # bytes of JSON after which a block is full: it opens in a millisecond, and still packs well
LARGEST_LINE = 16 * 2**20  # bytes of one opened line, so that a few kilobytes cannot fill the memory
LARGEST_WHOLE = 2**30  # bytes of all lines together; they are never held together
OPEN = 2  # blocks kept open
SLICE = 64 * 2**10  # bytes unpacked at once
EFFORT = 1  # of zlib: level 6 takes three times as long for a tenth less


def press(line: bytes) -> bytes:
    """One line as a gzip member; the same line gives the same bytes."""
    packer = zlib.compressobj(EFFORT, wbits=31)
    return packer.compress(line) + packer.flush()


def lines(data: bytes) -> Iterator[tuple[memoryview, bytes]]:
    """The members of a gzip file, each with what is in it.

    Raises `ValueError` when the file is cut off, damaged, or opens to more than `LARGEST_LINE` or `LARGEST_WHOLE` bytes.
    """
    whole, at, total = memoryview(data), 0, 0
    while at < len(whole):
        start, text, unpacker = at, bytearray(), zlib.decompressobj(wbits=31)
        while not unpacker.eof:
            part = whole[at : at + SLICE]
            if not part:
                raise ValueError("it is cut off")
            try:
                text += unpacker.decompress(part, LARGEST_LINE + 1 - len(text))
            except zlib.error as broken:
                raise ValueError(f"it does not unpack: {broken}") from None
            if len(text) > LARGEST_LINE:
                raise ValueError(f"a line of it has more than {LARGEST_LINE:,} bytes")
            at += len(part) - len(unpacker.unused_data)
        total += len(text)
        if total > LARGEST_WHOLE:
            raise ValueError(f"it has more than {LARGEST_WHOLE:,} bytes unpacked")
        yield whole[start:at], bytes(text)


class Packed(Sequence):
    """A list of `kind` that keeps its items packed and opens the block of an item that is asked for.

    It grows at its end like any list; what is added there stays open. Slices are views of it.
    """

    def __init__(self, kind: Any):
        self.blocks: list[bytes | memoryview] = []
        self.ends: list[int] = []  # of each block: how many items there are up to its end
        self._decode = msgspec.json.Decoder(list[kind]).decode
        self._open: dict[int, list] = {}
        self._tail: list = []

    def take(self, text: bytes, member: bytes | memoryview | None = None, check: Callable[[list], None] | None = None) -> None:
        """Add a block by its line of JSON, and its packed form where that is at hand; `check` may refuse the items.

        It is kept in our own spelling, whatever the line's. Raises `msgspec.MsgspecError` when the line is no list of such items.
        """
        items = self._decode(text)
        if check:
            check(items)
        clean = msgspec.json.encode(items) + b"\n"
        self.blocks.append(member if member is not None and clean == text else press(clean))
        self.ends.append(self._packed + len(items))

    @property
    def _packed(self) -> int:
        return self.ends[-1] if self.ends else 0

    @property
    def tail(self) -> list:
        """The items behind the blocks."""
        return self._tail

    def append(self, item: Any) -> None:
        """Add one item at the end."""
        self._tail.append(item)

    def __len__(self) -> int:
        return self._packed + len(self._tail)

    def __getitem__(self, at: int | slice) -> Any:
        if isinstance(at, slice):
            return _Part(self, range(len(self))[at])
        place = range(len(self))[at]  # negative ones counted from the end; raises IndexError as a list does
        if place >= self._packed:
            return self._tail[place - self._packed]
        number = bisect_right(self.ends, place)
        items = self._open.get(number)
        if items is None:
            while len(self._open) >= OPEN:
                self._open.pop(next(iter(self._open)))
            items = self._open[number] = self._decode(zlib.decompress(self.blocks[number], wbits=31))
        return items[place - (self.ends[number - 1] if number else 0)]

    def __eq__(self, other: object) -> bool:
        return _same(self, other)

    __hash__ = None


class _Part(Sequence):
    """Some items of a packed list."""

    def __init__(self, whole: Packed, places: range):
        self._whole, self._places = whole, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, at: int | slice) -> Any:
        return _Part(self._whole, self._places[at]) if isinstance(at, slice) else self._whole[self._places[at]]

    def __eq__(self, other: object) -> bool:
        return _same(self, other)

    __hash__ = None


def _same(one: Sequence, other: object) -> bool:
    if not isinstance(other, (list, Packed, _Part)):
        return NotImplemented
    return len(one) == len(other) and all(mine == theirs for mine, theirs in zip(one, other))


def batches(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Items as JSON joined into lines, each a list of about `BLOCK` bytes."""
    batch: list[bytes] = []
    size = 0
    for text in texts:
        batch.append(bytes(text))
        size += len(batch[-1])
        if size >= BLOCK:
            yield b"[" + b",".join(batch) + b"]\n"
            batch, size = [], 0
    if batch:
        yield b"[" + b",".join(batch) + b"]\n"
