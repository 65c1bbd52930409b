"""Ways to damage files: blindly, and knowingly, so that the damage lies behind checksums."""

from __future__ import annotations

import io
import random
import re
import struct
import zipfile

NUMBERS = (0, 1, 2, 3, 4, 8, 0x7F, 0x80, 0xFF, 0xFFFF, 1 << 20, 1 << 31, (1 << 32) - 1)
KINDS = ("flip", "byte", *("number",) * 3, "cut", "drop", "copy", "insert", "swap")
SIGNED = (b"OHDR", b"OCHK", b"BTHD", b"BTLF", b"BTIN", b"FRHP", b"FHDB", b"FHIB", b"FAHD", b"EAHD")


def blind(content: bytes, rng: random.Random) -> bytes:
    """Return the content with some bytes or blocks changed, moved, added or left out."""
    data = bytearray(content) or bytearray(1)
    for _ in range(rng.choice((1, 1, 2, 4, 12))):
        at = rng.randrange(len(data)) if data else 0
        size = rng.choice((1, 2, 4, 8, 16, 64, 512))
        kind = rng.choice(KINDS)
        if kind == "flip" and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == "byte" and data:
            data[at] = rng.randrange(256)
        elif kind == "number":
            width = rng.choice((1, 2, 4, 8))
            here = int.from_bytes(data[at : at + width], "little")
            new = rng.choice(
                (*NUMBERS, here + 1, here - 1, here * 2, len(data), rng.getrandbits(64))
            )
            data[at : at + width] = (new % (1 << 8 * width)).to_bytes(width, "little")
        elif kind == "cut" and rng.random() < 0.2:
            del data[at:]
        elif kind == "drop" and rng.random() < 0.5:
            del data[at : at + size]
        elif kind == "copy":
            other = rng.randrange(len(data) or 1)
            data[at : at + size] = data[other : other + size]
        elif kind == "insert":
            data[at:at] = rng.choice((bytes(size), rng.randbytes(size), data[at : at + size]))
        elif kind == "swap":
            other = rng.randrange(len(data) or 1)
            data[at : at + size], data[other : other + size] = (
                data[other : other + size],
                data[at : at + size],
            )
    return bytes(data)


def texts(content: bytes, rng: random.Random) -> bytes:
    """Return a JSON text with tokens replaced, doubled or left out."""
    tokens = re.findall(rb'"[^"]*"|-?[0-9.eE+-]+|\w+|[^\w"]', content)
    odd = (b"0", b"-1", b"1e999", b"NaN", b"null", b"[]", b"{}", b'""', b'"../x"', b"9" * 400)
    odd += (b"true", b'"uint8"', b"1.5", b"[" * 3000, b'"\\ud800"', b'"/etc/passwd"', b"4611686018")
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(tokens))
        action = rng.randrange(4)
        if action == 0:
            tokens[at] = rng.choice(odd)
        elif action == 1:
            tokens[at] = rng.choice(tokens)
        elif action == 2:
            del tokens[at : at + rng.choice((1, 1, 4, 20))]
        else:
            tokens[at:at] = tokens[at : at + rng.choice((1, 4, 20))] * rng.choice((1, 1, 50))
        if not tokens:
            break
    return b"".join(tokens)


def rezipped(content: bytes, rng: random.Random) -> bytes:
    """Return an archive with a member damaged and all checksums right."""
    source = zipfile.ZipFile(io.BytesIO(content))
    target = io.BytesIO()
    names = source.namelist()
    chosen = rng.choice([name for name in names if name.endswith(("h5", "pkl", "json"))] or names)
    with zipfile.ZipFile(target, "w") as archive:
        for name in names:
            body = source.read(name)
            if name == chosen:
                body = rng.choice((blind, hdf5))(body, rng)
            method = rng.choice((zipfile.ZIP_STORED,) * 4 + (zipfile.ZIP_DEFLATED,))
            archive.writestr(zipfile.ZipInfo(name), body, method)
    return target.getvalue()


def reheaded(content: bytes, rng: random.Random) -> bytes:
    """Return a safetensors file with its header damaged and the header's length right."""
    length = int.from_bytes(content[:8], "little")
    header = texts(content[8 : 8 + length], rng)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def hdf5(content: bytes, rng: random.Random) -> bytes:
    """Return an HDF5 file with bytes of its structure changed and its checksums right."""
    data = bytearray(content)
    blocks = checksummed(content)
    if not blocks:
        return blind(content, rng)
    start, end = rng.choice(blocks)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(start + 4, end)
        width = rng.choice((1, 1, 2, 4, 8))
        here = int.from_bytes(data[at : at + width], "little")
        new = rng.choice((*NUMBERS, here + 1, here - 1, here * 2, rng.getrandbits(64)))
        data[at : min(at + width, end)] = (new % (1 << 64)).to_bytes(8, "little")[
            : min(at + width, end) - at
        ]
    data[end : end + 4] = struct.pack("<I", lookup3(bytes(data[start:end])))
    return bytes(data)


KNOWN: dict[bytes, list[tuple[int, int]]] = {}


def checksummed(content: bytes) -> list[tuple[int, int]]:
    """Return (start, end) of every block that a checksum follows."""
    if content not in KNOWN:
        found = []
        starts = [m.start() for mark in SIGNED for m in re.finditer(mark, content)]
        if content[8:9] in (b"\x02", b"\x03"):
            starts.append(0)
        for start in starts:
            for end in range(start + 12, min(start + 700, len(content) - 4)):
                (stated,) = struct.unpack("<I", content[end : end + 4])
                if stated and lookup3(content[start:end]) == stated:
                    found.append((start, end))
                    break
        KNOWN[content] = found
    return KNOWN[content]


def lookup3(data: bytes) -> int:
    """Return Bob Jenkins' hash, the checksum of HDF5's metadata (H5checksum.c)."""
    mask = 0xFFFFFFFF
    a = b = c = (0xDEADBEEF + len(data)) & mask

    def rot(x: int, k: int) -> int:
        return (x << k | x >> (32 - k)) & mask

    padded = data + bytes(-len(data) % 12)
    words = struct.unpack(f"<{len(padded) // 4}I", padded)
    for i in range(0, len(words) - 3, 3):
        a, b, c = (a + words[i]) & mask, (b + words[i + 1]) & mask, (c + words[i + 2]) & mask
        for k, (x, y, z) in zip((4, 6, 8, 16, 19, 4), ("acb", "bac", "cba") * 2, strict=True):
            v = {"a": a, "b": b, "c": c}
            v[x] = ((v[x] - v[y]) & mask) ^ rot(v[y], k)
            v[y] = (v[y] + v[z]) & mask
            a, b, c = v["a"], v["b"], v["c"]
    if data:
        a, b, c = (a + words[-3]) & mask, (b + words[-2]) & mask, (c + words[-1]) & mask
        for k, (x, y) in zip((14, 11, 25, 16, 4, 14, 24), ("cb", "ac", "ba") * 3, strict=False):
            v = {"a": a, "b": b, "c": c}
            v[x] = ((v[x] ^ v[y]) - rot(v[y], k)) & mask
            a, b, c = v["a"], v["b"], v["c"]
    return c


def damaged(name: str, content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return a damaged file in the way that goes deepest for its kind, or blindly."""
    if rng.random() < 0.03:
        other = rng.choice(others)
        return content[: rng.randrange(len(content))] + other[rng.randrange(len(other)) :]
    if rng.random() < 0.3:
        return blind(content, rng)
    if name.endswith((".keras", ".pth")):
        return rezipped(content, rng)
    if name.endswith(".pt"):
        return blind(content, rng)
    if name.endswith(".safetensors"):
        return reheaded(content, rng)
    if name.endswith(".json"):
        return texts(content, rng)
    return hdf5(content, rng)
