"""Draw docs/rooms.svg: the rooms of the code in their order, from the contracts in pyproject.toml.

python scripts/draw_rooms.py
"""

from __future__ import annotations

import ast
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
WIDE, HIGH, GAP = 560, 44, 10  # pixels: a room, and the space around it
STYLE = (
    "text{font-family:system-ui,sans-serif;fill:#22303c}.name{font-weight:600;font-size:14px}"
    ".what{font-size:11px;fill:#5b6873}rect{fill:#f4f6f8;stroke:#c3ccd4}"
    ".head{font-size:15px;font-weight:600}"
)


def summary(package: str) -> str:
    """Return the first line of a package's docstring, without its full stop."""
    folder, _, rest = package.removeprefix("vox2face.").partition(".")
    base = ROOT / folder if folder in ("zoo", "converters", "train") else ROOT / "vox2face" / folder
    path = base.joinpath(*rest.split("."), "__init__.py") if rest else base / "__init__.py"
    path = path if path.is_file() else path.parent.with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".")


def column(container: str, layers: list[str], left: int) -> str:
    """Return one column: rooms above those that they may import."""
    parts = [f'<text class="head" x="{left}" y="24">{container}</text>']
    top = 40
    for layer in layers:
        rooms = [room.strip() for room in layer.split(":")]
        height = HIGH * len(rooms)
        parts.append(f'<rect x="{left}" y="{top}" width="{WIDE}" height="{height}" rx="6"/>')
        for number, room in enumerate(rooms):
            y = top + number * HIGH
            what = escape(summary(f"{container}.{room}"))
            parts.append(f'<text class="name" x="{left + 12}" y="{y + 18}">{room}</text>')
            parts.append(f'<text class="what" x="{left + 12}" y="{y + 35}">{what}</text>')
        top += height + GAP
    return "\n".join(parts)


def drawn() -> str:
    """Return the picture as SVG."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    columns = [c for c in contracts if c["type"] == "layers"]
    rooms = max(sum(len(layer.split(":")) for layer in c["layers"]) for c in columns)
    gaps = max(len(c["layers"]) for c in columns)
    width, height = 20 + len(columns) * (WIDE + 20), 70 + rooms * HIGH + gaps * GAP
    body = "\n".join(
        column(c["containers"][0], c["layers"], 20 + i * (WIDE + 20)) for i, c in enumerate(columns)
    )
    words = "Each box imports only from the boxes below it; rooms in one box may import each other."
    caption = f'<text class="what" x="20" y="{height - 12}">{words}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">\n<title>The rooms of vox2face: each imports only from '
        f"those below it</title>\n<style>{STYLE}</style>\n"
        f'<rect width="{width}" height="{height}" style="fill:#ffffff;stroke:none"/>\n'
        f"{body}\n{caption}\n</svg>\n"
    )


if __name__ == "__main__":
    (ROOT / "docs" / "rooms.svg").write_text(drawn(), encoding="utf-8")
