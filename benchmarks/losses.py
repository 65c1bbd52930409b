"""Held-out cosine and recall after equally many steps: our recipe against Speech-to-face's losses.

    python benchmarks/losses.py MANIFEST PREPARED [--recipe tiny-ast] [--steps 468] [--seeds 3]

The same network, clips, batches and steps. Their side has the distance over the whole batch, Adam
at a constant rate and a usual start of the last layer, as train_ve_conv.py of
Kacper-Pietkun/Speech-to-face; distillation and the decoder's loss need what the corpus may lack and
are off on both sides. Measured on the validation split, recall around the mean face on both sides;
mean over the seeds, smallest and largest in brackets.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np

from vox2face.train.trainer import history, recipe
from vox2face.train.corpus import manifest
from vox2face.train.prepare.reader import open_prepared
from vox2face.train.voice.train import train_voice
from vox2face.train.voice.recipe import VoiceRecipe

THEIRS = (
    *("loss.mse_weight=0.0", "loss.distance=whole-batch", "loss.distance_weight=0.025"),
    *("network.init_to_mean=false", "optimizer.name=adam", "optimizer.weight_decay=0.0"),
    *("optimizer.max_grad_norm=0.0", "schedule.shape=constant", "schedule.warmup=0"),
    *("loss.contrastive=none", "optimizer.betas=[0.9,0.999]", "phases.train.lr=1e-3"),
    "phases.train.backbone_lr=1e-3",
)
SHOWN = ("val_cosine", "val_recall1", "val_recall10")


def main() -> None:
    """Print a line for each side."""
    parser = argparse.ArgumentParser()
    parser.add_argument("manifest", type=Path)
    parser.add_argument("prepared")
    parser.add_argument("--recipe", default="tiny-ast")
    parser.add_argument("--steps", type=int, default=468)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    table, prepared = manifest.read(given.manifest), open_prepared(given.prepared)
    for side, more in (("vox2face", ()), ("Speech-to-face", THEIRS)):
        values: dict[str, list[float]] = {name: [] for name in SHOWN}
        with tempfile.TemporaryDirectory(prefix="vox2face-bench-") as name:
            for seed in range(given.seeds):
                overrides = [*more, f"loop.seed={seed}", "loop.evaluate_every=1000"]
                settings = recipe.read(given.recipe, VoiceRecipe, overrides)
                settings = recipe.shortened(settings, None, given.steps)
                run = Path(name) / "run"
                train_voice(table, prepared, settings, run, log=lambda line: None)
                phase = list(settings.phases)[-1]
                row = history.read(run / phase / history.FILE)[-1]
                for key in SHOWN:
                    values[key].append(row[key])
                shutil.rmtree(run)
        words = [
            f"{key.removeprefix('val_')} {np.mean(v):.4f} [{min(v):.4f}, {max(v):.4f}]"
            for key, v in values.items()
        ]
        print(f"{side:<15} {', '.join(words)}", flush=True)


if __name__ == "__main__":
    main()
