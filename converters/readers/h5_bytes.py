"""Read the plain part of HDF5 from its bytes: what h5py writes by default.

That is superblock 0, groups with symbol tables, object headers of version 1, texts of fixed length
and contiguous float32. Every place is checked, all work is bounded. Whatever else is met raises
`Unusual`: such a file is left to the HDF5 library.

Format: HDF5 File Format Specification, https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html
"""

from __future__ import annotations

import mmap
from math import prod
from struct import Struct, unpack_from

from vox2face.files import HDF5_MAGIC

MAX_BYTES = 16 << 20  # of structure that is looked at; a network of 1000 arrays has some 2 MB
MAX_PIECE = 1 << 20
STEP = 64  # bytes that each look counts as more
MAX_NAME = 1000
MAX_AXES = 32
UNDEFINED = (1 << 64) - 1

# Kinds of messages in the header of an object
SPACE, TYPE, OLD_FILL, FILL, LAYOUT, ATTRIBUTE = 0x01, 0x03, 0x04, 0x05, 0x08, 0x0C
COMMENT, OLD_TIME, CONTINUED, TABLE, TIME = 0x0D, 0x0E, 0x10, 0x11, 0x12
HARMLESS = {0x00, ATTRIBUTE, COMMENT, OLD_TIME, CONTINUED, TIME}
IN_GROUPS = HARMLESS | {TABLE}
IN_ARRAYS = HARMLESS | {SPACE, TYPE, OLD_FILL, FILL, LAYOUT}
SHARED = 2  # a flag: the message lies elsewhere
SOFT_LINK = 2  # a kind of entry in a symbol table
FLOAT32 = bytes.fromhex("11201f00 04000000 0000 2000 17 08 00 17 7f000000")  # little-endian IEEE
TEXT, VARYING_TEXT = 3, (9, 1)  # classes of types

HEADER = Struct("<BxH4xI4x")  # version, messages, bytes
MESSAGE = Struct("<HHB3x")  # kind, bytes, flags
HEAP = Struct("<4sB3xQ8xQ")  # signature, version, bytes, place
TREE = Struct("<4sBBH16x")  # signature, kind, level, children
SYMBOLS = Struct("<4sBxH")  # signature, version, entries
SYMBOL = Struct("<QQI20x")  # place of the name, place of the object, kind
COLLECTION = Struct("<4sB3xQ")  # signature, version, bytes
ENTRY = Struct("<H6xQ")  # number, bytes

Messages = list[tuple[int, bytes]]


class Unusual(Exception):
    """The file has something that is not read here."""


def require(usual: bool) -> None:
    """Raise `Unusual` unless a condition holds."""
    if not usual:
        raise Unusual


class PlainFile:
    """The bytes of an HDF5 file, which are read by place."""

    def __init__(self, memory: mmap.mmap) -> None:
        self.memory, self.size, self.rest = memory, len(memory), MAX_BYTES
        head = self.take(0, 96)
        versions = head.startswith(HDF5_MAGIC + bytes(5)) and head[13:16] == b"\x08\x08\x00"
        base, free, end, driver, _, root = unpack_from("<6Q", head, 24)
        require(versions and base == 0 and end <= self.size)
        require(free == driver == UNDEFINED)
        self.root: int = root

    def take(self, place: int, count: int) -> bytes:
        """Return bytes of the structure."""
        self.spend(count)
        require(count <= MAX_PIECE and place + count <= self.size)
        return self.memory[place : place + count]

    def spend(self, count: int) -> None:
        """Raise `Unusual` if more is to be looked at, or kept, than a real file has."""
        self.rest -= STEP + count
        require(self.rest >= 0)

    def messages(self, place: int, allowed: set[int]) -> Messages:
        """Return (kind, content) of all messages of the object at a place."""
        version, count, length = HEADER.unpack(self.take(place, 16))
        require(version == 1)
        found: Messages = []
        blocks = [(place + 16, length)]
        for start, size in blocks:
            block, at = self.take(start, size), 0
            while at < size and len(found) < count:
                require(at + 8 <= size)
                kind, length, flags = MESSAGE.unpack_from(block, at)
                body = block[at + 8 : at + 8 + length]
                require(kind in allowed and len(body) == length and not flags & SHARED)
                if kind == CONTINUED:
                    require(length >= 16)
                    blocks.append(unpack_from("<QQ", body))
                found.append((kind, body))
                at += 8 + length
        require(len(found) == count)
        return found

    def members(self, group: Messages) -> dict[str, int]:
        """Return name -> place of everything in a group that is hard-linked; links are unusual."""
        tree, heap = unpack_from("<QQ", only(group, TABLE, 16))
        signature, version, size, start = HEAP.unpack(self.take(heap, HEAP.size))
        require(signature == b"HEAP" and version == 0)
        names, found = self.take(start, size), dict[str, int]()
        for leaf in self.leaves(tree):
            signature, version, count = SYMBOLS.unpack(self.take(leaf, 8))
            require(signature == b"SNOD" and version == 1)
            entries = self.take(leaf + 8, count * SYMBOL.size)
            for at, place, kind in SYMBOL.iter_unpack(entries):
                end = names.find(b"\0", at, at + MAX_NAME)
                require(end > at and kind < SOFT_LINK)
                self.spend(end - at)
                name = decoded(names[at:end])
                require(name not in found)
                found[name] = place
        return found

    def leaves(self, tree: int) -> list[int]:
        """Return the places of the leaves of a group's tree."""
        nodes, level = [tree], -1
        while True:
            below: list[int] = []
            for place in nodes:
                signature, kind, height, count = TREE.unpack(self.take(place, TREE.size))
                require(signature == b"TREE" and kind == 0 and level in (-1, height))
                level = height
                keys_and_children = self.take(place + TREE.size, 8 * (2 * count + 1))
                below += unpack_from(f"<{2 * count + 1}Q", keys_and_children)[1::2]
            if level == 0:
                return below
            nodes, level = below, level - 1

    def array(self, place: int) -> tuple[tuple[int, ...], int]:
        """Return (shape, place of the values) of a contiguous float32 array."""
        facts = self.messages(place, IN_ARRAYS)
        require(only(facts, TYPE, len(FLOAT32)).startswith(FLOAT32))
        shape = dimensions(only(facts, SPACE, 4))
        layout = only(facts, LAYOUT, 18)
        require(layout[:2] == b"\x03\x01")  # contiguous
        start, size = unpack_from("<QQ", layout, 2)
        require(0 not in shape and size == 4 * prod(shape) and start + size <= self.size)
        return shape, start

    def texts(self, attribute: bytes) -> list[str]:
        """Return the texts of an attribute that is a list of them, or one text as a list."""
        kind, shape, content = parts(attribute)
        count, width = prod(shape), unpack_from("<I", kind, 4)[0]
        if count == 0:
            return []
        require(width > 0 and count * width <= len(content))
        if (kind[0] & 15, kind[1] & 15) == VARYING_TEXT and count == 1:
            return [decoded(self.shared(content))]
        require(kind[0] & 15 == TEXT and kind[1] & 15 < 2)
        content = content[: count * width]
        return [
            decoded(content[i : i + width].rstrip(b"\0")) for i in range(0, len(content), width)
        ]

    def shared(self, reference: bytes) -> bytes:
        """Return the text in the global heap to which an attribute's content refers."""
        require(len(reference) >= 16)
        length, place, wanted = unpack_from("<IQI", reference)
        signature, version, size = COLLECTION.unpack(self.take(place, COLLECTION.size))
        require(signature == b"GCOL" and version == 1)
        block, at = self.take(place, size), COLLECTION.size
        while at + ENTRY.size <= size:
            index, size_here = ENTRY.unpack_from(block, at)
            at += ENTRY.size
            if index == wanted:
                require(index > 0 and length <= size_here and at + length <= size)
                return block[at : at + length]
            at += -(-size_here // 8) * 8
        raise Unusual


def only(messages: Messages, kind: int, least: int) -> bytes:
    """Return the content of the only message of a kind, which has `least` bytes at least."""
    found = [body for each, body in messages if each == kind]
    require(len(found) == 1 and len(found[0]) >= least)
    return found[0]


def dimensions(space: bytes) -> tuple[int, ...]:
    """Return the shape that a description of a space gives; a single value has none."""
    version, rank, flags, kind = space[:4]
    start = {1: 8, 2: 4}.get(version, 0)
    require(start > 0 and rank <= MAX_AXES and flags <= 1 and len(space) >= start + 8 * rank)
    require(version == 1 or kind < 2)
    shape: tuple[int, ...] = unpack_from(f"<{rank}Q", space, start)
    return shape


def attributes(messages: Messages) -> dict[str, bytes]:
    """Return name -> content of the attributes of an object."""
    found = dict[str, bytes]()
    for kind, body in messages:
        if kind == ATTRIBUTE:
            require(len(body) >= 9 and body[0] in (1, 3))
            start = 8 if body[0] == 1 else 9
            name = body[start : start + unpack_from("<H", body, 2)[0]].partition(b"\0")[0]
            require(decoded(name) not in found)
            found[decoded(name)] = body
    return found


def parts(attribute: bytes) -> tuple[bytes, tuple[int, ...], bytes]:
    """Return (type, shape, content) of an attribute."""
    version, flags, *sizes = unpack_from("<BBHHH", attribute)
    require(version == 1 or not flags)
    step = 8 if version == 1 else 1
    found, at = [], 8 if version == 1 else 9
    for size in sizes:
        found.append(attribute[at : at + size])
        at += -(-size // step) * step
    _, kind, space = found
    require(len(kind) >= 8 and len(space) >= 4)
    return kind, dimensions(space), attribute[at:]


def decoded(name: bytes) -> str:
    """Return a name as text."""
    try:
        text = name.decode()
    except UnicodeDecodeError as error:
        raise Unusual from error
    require("\0" not in text)
    return text
