"""Curves of a training run as a picture: losses, evaluations, learning rate, throughput."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vox2face.files import atomic_file
from vox2face.train.history import PER_SECOND

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, float]]
APART = {"step", "epoch", "lr", PER_SECOND}
LOSS = "loss"
EVALUATED = "val_"


def draw(rows: Rows, path: Path) -> None:
    """Write the curves of a history as a PNG: one panel for each group of values there are."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for row in rows for name in row if name not in APART))
    losses = [name for name in names if not name.startswith(EVALUATED)]
    groups = [("loss", losses + [n for n in names if n == f"{EVALUATED}{LOSS}"])]
    groups += [(n.removeprefix(EVALUATED), [n]) for n in names if n not in groups[0][1]]
    groups += [(n, [n]) for n in ("lr", PER_SECOND) if any(n in row for row in rows)]
    columns = min(3, len(groups))
    lines = -(-len(groups) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.1 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (title, shown) in enumerate(groups, start=1):
        panel(figure.add_subplot(lines, columns, number), rows, title, shown)
    with atomic_file(path) as partial:
        figure.savefig(partial, format="png", dpi=100)


def panel(axes: Axes, rows: Rows, title: str, names: Sequence[str]) -> None:
    """Draw some values of a history over the steps."""
    for name in names:
        points = [(row["step"], row[name]) for row in rows if name in row]
        steps, values = zip(*points, strict=True)
        mark = "o" if name.startswith(EVALUATED) or len(points) == 1 else ""
        width = 2.0 if name in (LOSS, f"{EVALUATED}{LOSS}") else 1.2
        axes.plot(steps, values, label=name, marker=mark, markersize=3, linewidth=width)
    axes.set_title(title.replace("_", " "), fontsize=10)
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    positive = all(row[name] > 0 for name in names for row in rows if name in row)
    if title == LOSS and positive:
        axes.set_yscale("log")
    if len(names) > 1:
        axes.legend(fontsize=7)
