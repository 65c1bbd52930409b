"""How long the command takes to start, beside an empty Python and `import torch`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from measure import alternate

VOX2FACE = str(Path(sys.executable).with_name("vox2face"))

if __name__ == "__main__":
    medians = alternate(
        {
            "python -c pass": [sys.executable, "-c", "pass"],
            "vox2face --help": [VOX2FACE, "--help"],
            "vox2face zoo list": [VOX2FACE, "zoo", "list"],
            "import torch": [sys.executable, "-c", "import torch"],
        },
        rounds=7,
    )
    torch = medians["import torch"].seconds
    print("\nmedians of 7 rounds")
    for name, cost in medians.items():
        print(f"{name:<20} {cost.seconds:6.3f} s, {cost.seconds / torch:5.2f} of importing torch")
