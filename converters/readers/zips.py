"""List and unpack the members of a zip archive, within bounds and without surprises.

Every reader of archives resolves contradictions in its own way; this one refuses them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from vox2face.converters.readers.base import BLOCK, require_held
from vox2face.errors import WeightFileError

END, END64, LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
ENTRY, LOCAL = b"PK\x01\x02", b"PK\x03\x04"
STORED, DEFLATED, ENCRYPTED = 0, 8, 0x2041  # the last are flags: encrypted, strongly, or masked
MAX_DIRECTORY, MAX_MEMBERS = 4 << 20, 30_000
MAX_COMMENT = 1 << 16


@dataclass(frozen=True)
class Member:
    """One file of an archive: `packed` bytes that become `size`, listed as starting at `header`."""

    name: str
    method: int
    checksum: int
    packed: int
    size: int
    header: int


def directory(file: BinaryIO) -> dict[str, Member]:
    """Return the members of an archive by name, or raise if its list is not a plain one."""
    content, count = listed(file)
    members: dict[str, Member] = {}
    at = 0
    while at < len(content):
        member, at = entry(content, at)
        if member.name in members:
            raise WeightFileError(f"its member {member.name[:200]!r} is there twice")
        members[member.name] = member
    if len(members) != count:
        raise WeightFileError(f"its list of members has {len(members)} entries, not {count}")
    return members


def listed(file: BinaryIO) -> tuple[bytes, int]:
    """Return (list of members, how many it has) from the end of an archive."""
    size = file.seek(0, 2)
    tail = read_at(file, max(0, size - MAX_COMMENT - 22), min(size, MAX_COMMENT + 22))
    place = tail.rfind(END)
    if place < 0 or len(tail) - place < 22:
        raise WeightFileError("its list of members is missing: it is cut short")
    count, length, start, comment = struct.unpack("<H2IH", tail[place + 10 : place + 22])
    end = size - len(tail) + place
    if end + 22 + comment != size:
        raise WeightFileError("it does not end where its list of members says")
    if tail[max(0, place - 20) : place][:4] == LOCATOR:
        (end,) = struct.unpack("<Q", tail[place - 12 : place - 4])
        head = read_at(file, end, 56)
        if head[:4] != END64:
            raise WeightFileError("its list of members is damaged")
        count, length, start = struct.unpack("<3Q", head[32:])
    if start + length != end or length > MAX_DIRECTORY or count > MAX_MEMBERS:
        raise WeightFileError("its list of members is damaged or oversized")
    return read_at(file, start, length), count


def entry(content: bytes, at: int) -> tuple[Member, int]:
    """Return (member, where the next entry starts) from a list of members."""
    head = content[at : at + 46]
    if len(head) < 46 or head[:4] != ENTRY:
        raise WeightFileError("its list of members is damaged")
    flags, method, _, checksum, packed, size = struct.unpack("<2HI3I", head[8:28])
    lengths = struct.unpack("<3H", head[28:34])
    (header,) = struct.unpack("<I", head[42:])
    ends = [at + 46 + sum(lengths[:n]) for n in (0, 1, 2, 3)]
    name = content[ends[0] : ends[1]].decode("utf-8" if flags & 0x800 else "cp437")
    if flags & ENCRYPTED:
        raise WeightFileError(f"its member {name[:200]!r} is encrypted")
    size, packed, header = widened(content[ends[1] : ends[2]], size, packed, header)
    return Member(name, method, checksum, packed, size, header), ends[3]


def widened(extra: bytes, *numbers: int) -> Iterator[int]:
    """Yield sizes and offsets, those that say "too large" from the 64-bit field in `extra`."""
    wide, at = b"", 0
    while at + 4 <= len(extra):
        code, length = struct.unpack("<2H", extra[at : at + 4])
        wide = extra[at + 4 : at + 4 + length] if code == 1 else wide
        at += 4 + length
    for number in numbers:
        if number == 0xFFFFFFFF:
            (number,) = struct.unpack("<Q", wide[:8])
            wide = wide[8:]
        yield number


def start_of(file: BinaryIO, member: Member) -> int:
    """Return where a member's bytes start; raise unless all of them are in the file."""
    head = read_at(file, member.header, 30)
    if head[:4] != LOCAL:
        raise WeightFileError(f"its member {member.name[:200]!r} is not where it should be")
    (method,) = struct.unpack("<H", head[8:10])
    lengths = struct.unpack("<2H", head[26:30])
    start = member.header + 30 + sum(lengths)
    if method != member.method or start + member.packed > file.seek(0, 2):
        raise WeightFileError(f"its member {member.name[:200]!r} is damaged or cut short")
    if method == STORED and member.size != member.packed:
        raise WeightFileError(f"its member {member.name[:200]!r} has two sizes")
    return int(start)


def unpacked(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """Yield a member's content in blocks of at most 1 MiB; raise if it is not what it declares."""
    start, done, checksum = start_of(file, member), 0, 0
    if member.method not in (STORED, DEFLATED):
        raise WeightFileError(f"its member {member.name[:200]!r} is packed in an unknown way")
    require_held(member.size, member.packed)
    for block in blocks(file, start, member):
        done += len(block)
        if done > member.size:
            raise WeightFileError(f"its member {member.name[:200]!r} is larger than it declares")
        checksum = zlib.crc32(block, checksum)
        yield block
    if done != member.size or checksum != member.checksum:
        raise WeightFileError(f"its member {member.name[:200]!r} does not match its checksum")


def blocks(file: BinaryIO, start: int, member: Member) -> Iterator[bytes]:
    """Yield what a member's bytes become, in blocks of at most 1 MiB, unchecked."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    for at in range(start, start + member.packed, BLOCK):
        block = read_at(file, at, min(BLOCK, start + member.packed - at))
        if member.method == STORED:
            yield block
            continue
        while block and not stream.eof:
            if result := stream.decompress(block, BLOCK):
                yield result
            block = stream.unconsumed_tail
    if member.method == DEFLATED:
        yield stream.flush(BLOCK)


def content_of(file: BinaryIO, member: Member, limit: int) -> bytes:
    """Return a small member's content."""
    if member.size > limit:
        raise WeightFileError(f"its member {member.name[:200]!r} is oversized")
    return b"".join(unpacked(file, member))


def read_at(file: BinaryIO, offset: int, count: int) -> bytes:
    """Return exactly `count` bytes of a file, or raise."""
    size = file.seek(0, 2)
    if offset + count > size:
        raise WeightFileError("it is cut short")
    file.seek(offset)
    return file.read(count)
