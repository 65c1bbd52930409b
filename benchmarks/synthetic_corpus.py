"""What real networks make of a synthetic corpus: faces, voices, and the ties between them.

    python benchmarks/synthetic_corpus.py [--people 2000] [--seed 20261] [--bank seed|full|DIR]
                                          [--gender-net FILE] [--folder DIR]

Makes people of a fresh seed, indexes and prepares them as a user would, and prints what
docs/synthetic-corpus.md quotes: benchmarks/synth_faces.py and synth_voices.py on people of another
seed, then `vox2face evaluate` with a ridge regression from Resemblyzer's embeddings to those of
dlib's face network, with the true latent values beside it. Run again with the same --folder it
goes on where it was.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
VOX2FACE = [sys.executable, "-m", "vox2face"]


def run(title: str, command: list[str]) -> None:
    """Run a command and print what it says, and how long it took."""
    print(f"\n## {title}\n", flush=True)
    start = time.monotonic()
    subprocess.run(command, check=True)
    print(f"\n({time.monotonic() - start:,.0f} s)", flush=True)


def main() -> None:
    """Print everything, one section after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--people", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=20261)
    parser.add_argument("--bank", default="full")
    parser.add_argument("--gender-net", type=Path)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="vox2face-corpus-"))
    corpus, prepared = folder / "people", folder / "prepared"
    table = folder / "people.parquet"
    net = ["--gender-net", str(given.gender_net)] if given.gender_net else []
    fresh = str(given.seed + 1)
    faces = [sys.executable, str(HERE / "synth_faces.py"), "--seed", fresh, *net]
    run("Faces", faces)
    run("Voices", [sys.executable, str(HERE / "synth_voices.py"), given.bank, fresh, "60"])
    size = ["--identities", str(given.people), "--seed", str(given.seed), "--bank", given.bank]
    run("Synthesis", [*VOX2FACE, "data", "synth", "--out", str(corpus), *size])
    run("Index", [*VOX2FACE, "data", "index", str(corpus), "--out", str(table), "--force"])
    run("Preparation", [*VOX2FACE, "data", "prepare", str(table), "--out", str(prepared), "--crop"])
    evaluate = ["--baseline", "ge2e.resemblyzer", "--latents", str(corpus / "people.csv")]
    evaluate += ["--prepared", str(prepared), "--out", str(folder / "evaluation")]
    run("Ties", [*VOX2FACE, "evaluate", str(table), *evaluate])


if __name__ == "__main__":
    main()
