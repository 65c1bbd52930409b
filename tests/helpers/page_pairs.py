"""Pages whose blocks stand in pairs: a name that both blocks assign has to hold the same.

    python page_pairs.py PAGE.md OUT.pickle

runs the blocks of the old package after another, in a process of its own, and keeps what they
assign. It imports nothing of vox2face, so that the owner's code runs without it.
"""

from __future__ import annotations

import ast
import pickle
import re
import sys
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"```python title=(before|after)\n(.*?)```", re.DOTALL)
Values = list[dict[str, Any]]


def pairs(page: Path) -> list[tuple[str, str]]:
    """Return the blocks of a page, old and new, in order."""
    blocks = BLOCK.findall(page.read_text())
    assert blocks and [title for title, _ in blocks] == ["before", "after"] * (len(blocks) // 2)
    codes = [code for _, code in blocks]
    return list(zip(codes[::2], codes[1::2], strict=True))


def assigned(code: str) -> set[str]:
    """Return the names that a block assigns itself, not within functions or comprehensions."""
    outer = ast.parse(code).body
    inner = [node for block in outer if isinstance(block, ast.With) for node in block.body]
    statements = [node for node in [*outer, *inner] if isinstance(node, ast.Assign)]
    targets = [part for node in statements for target in node.targets for part in ast.walk(target)]
    return {part.id for part in targets if isinstance(part, ast.Name)}


def shared(page: Path) -> list[set[str]]:
    """Return, for each pair, the names that both of its blocks assign."""
    return [assigned(before) & assigned(after) for before, after in pairs(page)]


def run(page: Path, side: int) -> Values:
    """Run all blocks of one side in one namespace; return what each gave the shared names."""
    space: dict[str, Any] = {}
    values = []
    for blocks, names in zip(pairs(page), shared(page), strict=True):
        exec(compile(blocks[side], f"{page.name}, side {side}", "exec"), space)
        values.append({name: space[name] for name in names if is_plain(space[name])})
    return values


def is_plain(value: Any) -> bool:
    """Whether a value can be compared: numbers, text, and arrays and lists of them."""
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(map(is_plain, value.values()))
    return isinstance(value, (int, float, str)) or hasattr(value, "__array__")


def main(page: str, out: str) -> None:
    Path(out).write_bytes(pickle.dumps(run(Path(page), 0)))


if __name__ == "__main__":
    main(*sys.argv[1:])
