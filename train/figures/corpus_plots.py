"""Plots of a corpus as PNG files, drawn with matplotlib and no window system."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vox2face.core.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120
INK, PALE, GRID = "#22303c", "#8a97a3", "#e3e8ec"
VOICE, FACE = "#2f7fb5", "#e08a3c"
GENDERS = {"f": ("female", "#b5577f"), "m": ("male", "#4a8f8b"), None: ("not known", "#9aa5af")}
BINS = 40


def figure(title: str, columns: int = 1, height: float = 4.0) -> tuple[Figure, Sequence[Axes]]:
    """Return an empty figure with `columns` axes beside each other, and the axes."""
    from matplotlib.figure import Figure

    plot = Figure(figsize=(9, height), dpi=DPI, layout="constrained", facecolor="white")
    plot.suptitle(title, color=INK, fontsize=13, x=0.01, ha="left")
    axes = list(plot.subplots(1, columns, squeeze=False)[0])
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(PALE)
        ax.tick_params(colors=INK, labelsize=9, length=0)
        ax.set_axisbelow(True)
    return plot, axes


def save(plot: Figure, path: Path) -> None:
    """Write a figure as a PNG, as a whole or not at all; equal figures give equal bytes."""
    with atomic_file(path) as partial, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # such letters become boxes
        plot.savefig(partial, format="png", metadata={"Software": None})


def write_sentence(ax: Axes, sentence: str) -> None:
    """Write a sentence in place of a plot."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, sentence, ha="center", va="center", color=PALE, fontsize=11, wrap=True)


def durations(path: Path, seconds: NDArray[Any], unknown: int) -> None:
    """Plot the lengths of clips (s); `unknown` is the number of clips of unmeasured length."""
    title = f"Length of {seconds.size:,} clips, {_time_text(float(seconds.sum()))} in all"
    plot, (ax,) = figure(title if seconds.size else "Length of clips")
    if not seconds.size:
        write_sentence(ax, "The manifest holds no clip whose length is known.")
    else:
        longest = float(np.quantile(seconds, 0.995)) * 1.05  # longer ones go into the last bar
        ax.hist(np.minimum(seconds, longest), bins=BINS, color=VOICE, edgecolor="white", lw=0.5)
        middle = float(np.median(seconds))
        ax.axvline(middle, color=FACE, lw=1.5, label=f"median {middle:.1f} s")
        ax.legend(frameon=False, labelcolor=INK)
        ax.grid(axis="y", color=GRID)
        note = f"; {unknown:,} clips of unknown length are not shown" if unknown else ""
        ax.set_xlabel(f"seconds{note}", color=INK)
        ax.set_ylabel("clips", color=INK)
    save(plot, path)


def _time_text(seconds: float) -> str:
    """Format a length of time as hours, or below one hour as minutes."""
    return f"{seconds / 3600:,.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def identities(path: Path, clips: NDArray[Any], pictures: NDArray[Any]) -> None:
    """Plot the numbers of clips and of pictures of the identities, each (identities,)."""
    from matplotlib.ticker import MaxNLocator

    both = int(((clips > 0) & (pictures > 0)).sum())
    title = f"{clips.size:,} identities, {both:,} of them with clips and pictures"
    plot, axes = figure(title, columns=2)
    for ax, counts, name, colour in (
        (axes[0], clips, "clips", VOICE),
        (axes[1], pictures, "pictures", FACE),
    ):
        if not counts.any():
            write_sentence(ax, f"The manifest holds no {name}.")
            continue
        ax.hist(counts, bins=whole_bins(counts), color=colour, edgecolor="white", lw=0.5)
        ax.grid(axis="y", color=GRID)
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(8, integer=True))
        total = int(counts.sum())
        ax.set_title(f"{total:,} {name}", color=INK, fontsize=10, loc="left")
        ax.set_xlabel(f"{name} of an identity", color=INK)
        ax.set_ylabel("identities", color=INK)
    save(plot, path)


def whole_bins(counts: NDArray[Any]) -> list[float]:
    """Return bin edges halfway between whole numbers, with equally many numbers in each bin."""
    low, high = int(counts.min()), int(counts.max())
    step = max(1, -(-(high - low + 1) // BINS))
    return [edge - 0.5 for edge in range(low, high + step + 1, step)]


def genders(path: Path, counts: Mapping[str | None, Mapping[str | None, int]]) -> None:
    """Plot the identities of each gender in each split: `counts[split][gender]`."""
    plot, (ax,) = figure("Gender of the identities, as the metadata has it")
    totals = {split: sum(parts.values()) for split, parts in counts.items()}
    if not sum(totals.values()):
        write_sentence(ax, "The manifest holds nobody.")
    elif not any(gender for parts in counts.values() for gender in parts):
        write_sentence(
            ax, "The manifest holds no genders: index the corpus with its metadata file."
        )
    else:
        names = [split or "no split" for split in counts]
        left = np.zeros(len(names))
        for gender, (words, colour) in GENDERS.items():
            parts = np.array([counts[split].get(gender, 0) for split in counts])
            shares = parts / np.maximum(list(totals.values()), 1)
            bars = ax.barh(names, shares, 0.62, left=left, color=colour, label=words)
            labels = [
                f"{n:,}" if share > 0.06 else "" for n, share in zip(parts, shares, strict=True)
            ]
            ax.bar_label(bars, labels, label_type="center", color="white", fontsize=10)
            left += shares
        ax.set_xlim(0, 1)
        ax.invert_yaxis()
        ax.xaxis.set_major_formatter(lambda share, place: f"{share:.0%}")
        ax.set_xlabel("share of the identities; the numbers are identities", color=INK)
        ax.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), labelcolor=INK)
    save(plot, path)
