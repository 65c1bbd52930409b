"""Plot the curves of a training run: losses, evaluations, learning rate, throughput."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vox2face.core.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, float]]
Panel = tuple[str, Sequence[str]]  # its title, and the names of the values in it
LOSS, EVALUATED = "loss", "val_"
VAL_LOSS, POOL, RANK, RECALL = "val_loss", "val_pool", "val_rank", "val_recall"
PER_SECOND = "items_per_second"
APART = {"step", "epoch", "lr", PER_SECOND, POOL}
LOG_FROM = 10.0  # a panel of losses is logarithmic where the largest is that many times the least
CHANCE = "chance"


def draw(rows: Rows, path: Path) -> None:
    """Write the curves of a history as a PNG, all over the same steps; see `panels`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layout = panels(rows)
    columns = min(3, len(layout))
    lines = -(-len(layout) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.1 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (title, names) in enumerate(layout, start=1):
        panel(figure.add_subplot(lines, columns, number), rows, title, names)
    with atomic_file(path) as partial:
        figure.savefig(partial, format="png", dpi=100)


def panels(rows: Rows) -> list[Panel]:
    """Return the panels to draw, each with values that can be compared.

    The training loss and its parts are one panel; each part that is evaluated too has another, with
    both values. The evaluated loss is in the panel of the training loss only if it has the same
    parts; else in its own, with a title that names the missing parts.
    """
    names = list(dict.fromkeys(name for row in rows for name in row if name not in APART))
    evaluated = [name for name in names if name.startswith(EVALUATED)]
    losses = [name for name in names if name not in evaluated]
    both = [name for name in losses if name != LOSS and EVALUATED + name in evaluated]
    unevaluated = [name for name in losses if name != LOSS and name not in both]
    result: list[Panel] = [("loss in training", losses)] if losses else []
    result += [(name, [name, EVALUATED + name]) for name in both]
    if VAL_LOSS in evaluated and both and not unevaluated:
        result[0] = (LOSS, [*losses, VAL_LOSS])
    elif VAL_LOSS in evaluated:
        without = f" (without {', '.join(unevaluated)})" if both else ""
        result.insert(1, (f"{VAL_LOSS}{without}", [VAL_LOSS]))
    with_panel = {VAL_LOSS, *(EVALUATED + name for name in both)}
    pool = max((row[POOL] for row in rows if POOL in row), default=0)
    result += [(title(name, pool), [name]) for name in evaluated if name not in with_panel]
    return result + [(n, [n]) for n in ("lr", PER_SECOND) if any(n in row for row in rows)]


def title(name: str, pool: float) -> str:
    """Return the title of an evaluated value, with the size of the pool where faces are ranked."""
    among = f" among {pool:,.0f} faces" if pool and name.startswith((RANK, RECALL)) else ""
    guess = " (0.5 is chance)" if name == RANK else ""
    return f"{name}{among}{guess}"


def chance(name: str, pool: float) -> float | None:
    """Return the recall of guessing among `pool` faces; None for other values."""
    k = name.removeprefix(RECALL)
    return min(1.0, int(k) / pool) if k.isdigit() and pool else None


def panel(axes: Axes, rows: Rows, title: str, names: Sequence[str]) -> None:
    """Draw the values `names` of a history over the steps."""
    for name in names:
        points = [(row["step"], row[name]) for row in rows if name in row]
        steps, values = zip(*points, strict=True)
        marker = "o" if name.startswith(EVALUATED) or len(points) == 1 else ""
        width = 2.0 if name in (LOSS, VAL_LOSS) else 1.2
        axes.plot(steps, values, label=name, marker=marker, markersize=3, linewidth=width)
    guess = chance(names[0], max((row[POOL] for row in rows if POOL in row), default=0))
    if guess is not None:
        axes.axhline(guess, label=CHANCE, color="gray", linestyle="--", linewidth=1)
    if any(name in (LOSS, VAL_LOSS) or EVALUATED + name in names for name in names):
        losses = [row[name] for name in names for row in rows if name in row]
        axes.set_yscale("log" if 0 < LOG_FROM * min(losses) < max(losses) else "linear")
    axes.set_xlim(0, 1.03 * max(row["step"] for row in rows))
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(which="both", labelsize=8)
    axes.yaxis.get_offset_text().set_fontsize(8)
    axes.grid(alpha=0.3)
    if len(axes.get_lines()) > 1:
        axes.legend(fontsize=7)
