"""Conversion of a full-size senet50 file without ONNX and proof, beside Python's own start.

Whole processes in turn; what is left after subtracting `python -c pass` is the conversion.
`python benchmarks/senet50.py [ROUNDS]`
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from measure import alternate

from vox2face.converters.maps.rcmalli_senet50 import TABLE
from vox2face.converters.write_keras import random_layers, write_keras


def main(rounds: int) -> None:
    """Print medians, their difference and their ratio."""
    with tempfile.TemporaryDirectory(prefix="vox2face-bench-") as name:
        weights, bundle = Path(name) / "senet50.h5", Path(name) / "bundle"
        write_keras(weights, random_layers(TABLE.rules, seed=0))
        vox2face = str(Path(sys.executable).with_name("vox2face"))
        command = [vox2face, "convert", "rcmalli", "--variant", "senet50", "--no-onnx"]
        command += ["--verify", "none", "--weights", str(weights), "--out", str(bundle)]
        medians = alternate(
            {"python -c pass": [sys.executable, "-c", "pass"], "convert senet50": command},
            rounds,
            remove=[bundle],
        )
    start, whole = (cost.seconds for cost in medians.values())
    print(
        f"\nmedians of {rounds} rounds: {whole:.2f} s, {whole - start:.2f} s beyond the start of "
        f"Python ({start:.3f} s), {whole / start:.0f} times that; "
        f"{medians['convert senet50'].memory / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
