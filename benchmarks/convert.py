"""Conversion of a full-size serengil file: vox2face against the usual Keras route.

Both sides run as whole processes, in turn, on the same file; medians and ratios are printed.
Needs the `dev` extra. `python benchmarks/convert.py [ROUNDS]`
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from measure import alternate, run

from vox2face.converters.maps.vggface_serengil import RULES
from vox2face.converters.keras.writer import random_layers, write_keras


def main(rounds: int) -> None:
    """Print medians and ratios."""
    with tempfile.TemporaryDirectory(prefix="vox2face-bench-") as name:
        folder = Path(name)
        weights = folder / "vgg_face_weights.h5"
        write_keras(weights, random_layers(RULES, seed=0))
        ours = [str(Path(sys.executable).with_name("vox2face")), "convert", "serengil"]
        bundle, pickled = folder / "bundle", folder / "keras.pt"
        ours += ["--weights", str(weights), "--out", str(bundle)]
        keras = [sys.executable, str(Path(__file__).with_name("keras_route.py"))]
        commands = {
            "keras route": [*keras, str(weights), str(pickled)],
            "vox2face --no-onnx --verify none": [*ours, "--no-onnx", "--verify", "none"],
            "vox2face (ONNX and proof)": ours,
        }
        run(commands["keras route"])  # fill the caches of the file system
        medians = alternate(commands, rounds, remove=[bundle, pickled])
    yardstick = medians.pop("keras route")
    print(
        f"\nmedians of {rounds} rounds; the Keras route: {yardstick.seconds:.1f} s, "
        f"{yardstick.memory / 1e6:.0f} MB"
    )
    for name, cost in medians.items():
        print(
            f"{name:<34} {cost.seconds:6.2f} s: {yardstick.seconds / cost.seconds:5.2f} times "
            f"faster ({cost.seconds / yardstick.seconds:.2f} of the time); "
            f"{cost.memory / 1e6:6.0f} MB: {cost.memory / yardstick.memory:.2f} of the memory"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
