"""How equal two computations are: one comparison, many of them as a report. NumPy only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_COSINE = 0.999999


@dataclass(frozen=True)
class Parity:
    """One tap of one stage against the original.

    `max_abs` is the largest absolute difference, `max_rel` that over the largest absolute value
    of the original, `cosine` between both flattened. `ok` means
    max_abs <= atol + rtol * largest original value, and cosine >= 0.999999.
    """

    stage: str
    tap: str
    shape: tuple[int, ...]
    max_abs: float
    max_rel: float
    cosine: float
    atol: float
    rtol: float
    ok: bool


def compare(
    stage: str,
    tap: str,
    got: NDArray[Any],
    want: NDArray[Any],
    atol: float = 0.0,
    rtol: float = 1e-4,
    least: float = MIN_COSINE,
) -> Parity:
    """Compare `got` with the original `want`; a shape that differs or a NaN is a failure.

    So is a cosine below `least`.
    """
    if got.shape != want.shape or not want.size:
        return Parity(stage, tap, got.shape, np.inf, np.inf, 0.0, atol, rtol, ok=False)
    difference = np.subtract(got, want, dtype=np.float64)
    max_abs = float(np.abs(difference).max())
    largest = float(np.abs(want).max())
    max_rel = max_abs / largest if largest else float(max_abs > 0)
    cosine = cosine_similarity(got, want)
    ok = bool(max_abs <= atol + rtol * largest and cosine >= least)
    return Parity(stage, tap, got.shape, max_abs, max_rel, cosine, atol, rtol, ok)


def cosine_similarity(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the cosine of two arrays as vectors; two zero vectors count as equal."""
    x, y = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    norms = float(np.sqrt(x @ x) * np.sqrt(y @ y))
    return float(x @ y) / norms if norms else float(not x.any() and not y.any())


@dataclass
class Report:
    """All comparisons of a conversion, with the versions and the hashes they hold for."""

    rows: list[Parity] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    verify: str = "reference"

    @property
    def ok(self) -> bool:
        """Whether something was proven and no row fails."""
        return bool(self.rows or self.verify == "bits") and all(row.ok for row in self.rows)

    @property
    def first_failure(self) -> Parity | None:
        """The first failing tap, in network order, or None."""
        return next((row for row in self.rows if not row.ok), None)

    @property
    def stages(self) -> list[str]:
        """The computations that were compared with the original, in order."""
        return list(dict.fromkeys(row.stage for row in self.rows))

    def worst(self, stage: str) -> Parity:
        """Return the row of a stage with the largest relative difference."""
        return max((r for r in self.rows if r.stage == stage), key=lambda r: r.max_rel)

    def verdict(self) -> str:
        """Say in one line whether everything agrees, and how well."""
        if self.verify == "none" or not (self.rows or self.verify == "bits"):
            return "NOT PROVEN: verification was switched off."
        if (bad := self.first_failure) is not None:
            return (
                f"FAILED at {bad.tap} ({bad.stage}): largest difference {bad.max_rel:.1e} of the "
                f"largest activation, cosine {bad.cosine:.6f}; allowed {bad.rtol:.0e} and "
                f"{MIN_COSINE}."
            )
        parts = [f"{stage} within {self.worst(stage).max_rel:.1e}" for stage in self.stages]
        if not parts:
            return "PROVEN: all values bit for bit."
        layers = sum(row.stage == self.stages[0] for row in self.rows)
        at = ": all values bit for bit," if self.verify == "bits" else f" at {layers} layers:"
        return (
            f"PROVEN{at} {', '.join(parts)} of the largest activation; "
            f"lowest cosine {min(row.cosine for row in self.rows):.9f}."
        )

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Return the report that `to_json` wrote."""
        content = json.loads(text)
        rows = [Parity(**{**row, "shape": tuple(row["shape"])}) for row in content["rows"]]
        return cls(rows, content["versions"], content["hashes"], content["verify"])

    def to_json(self) -> str:
        """Return the report as indented JSON text."""
        content: Mapping[str, Any] = {"verdict": self.verdict(), "ok": self.ok, **asdict(self)}
        return json.dumps(content, indent=2) + "\n"
