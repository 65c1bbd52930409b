"""What a face decoder keeps of unseen synthetic people, judged also without the network it heard.

`python benchmarks/decoded_faces.py CORPUS PREPARED DECODER [--people 150] [--sheet FILE.png]`: a
corpus of `vox2face data synth`, prepared with dlib_resnet128.dlib and --crop, and a bundle. Two
photographs of each person are decoded. Age and size are read off the pixels by ridge regression,
sex and ancestry by a logistic one, both fitted on true normalised pictures of other people.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline

from vox2face.runtime.load import load
from vox2face.train.datasets.face import FaceDecoderDataset
from vox2face.train.decoder.task import FrozenFaceEncoder
from vox2face.train.metrics import pictures as measures
from vox2face.train.prepare.reader import Prepared, open_prepared

PIXELS = 56  # a side of the pictures that traits are read off
COLOURS = 14  # a side of the pictures that are compared by colour
COMPONENTS = 150
TRAINED = 1500  # people whose true pictures tell how traits look


def true_pictures(prepared: Prepared, rows: Any) -> torch.Tensor:
    """Return the pictures of rows, float 0..1, (n, 3, 224, 224)."""
    pixels = np.stack([prepared.picture(int(row)) for row in rows]).transpose(0, 3, 1, 2)
    return torch.from_numpy(pixels.astype(np.float32) / 255)


def small(pictures: torch.Tensor, side: int) -> Any:
    """Return the colours of reduced pictures, (n, values)."""
    return torch.nn.functional.adaptive_avg_pool2d(pictures, side).flatten(1).numpy()


def recalls(found: Any, gallery: Any) -> str:
    """Return Recall@1 and @10 of queries in the order of the gallery, in per cent."""
    apart = ((found[:, None] - gallery[None]) ** 2).sum(2)
    rank = (apart < np.diag(apart)[:, None]).sum(1)
    return f"{100 * (rank < 1).mean():.1f} / {100 * (rank < 10).mean():.1f}"


def main() -> None:
    """Print the measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("corpus", "prepared", "decoder"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--people", type=int, default=150)
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    prepared, decoder = open_prepared(given.prepared), load(given.decoder)
    with (given.corpus / "people.csv").open() as file:
        latents = {line["identity"]: line for line in csv.DictReader(file)}
    parts = {
        split: FaceDecoderDataset(prepared.manifest, prepared, split, textures=False)
        for split in ("train", "test")
    }
    test = parts["test"]
    chosen = [i for i in range(len(test.identities)) if len(test.groups.pictures_of(i)) > 1]
    chosen = chosen[: given.people]
    firsts = test.groups.first_picture[chosen]
    true = true_pictures(prepared, test.targets[firsts])
    judge = FrozenFaceEncoder(prepared.encoder())
    wanted = np.stack([test.embeddings[int(row)] for row in test.targets[firsts]])
    results: dict[str, list[Any]] = {}
    drawn, seen = [], []
    for k in (0, 1):
        faces = np.stack([test.embeddings[int(row)] for row in test.groups.pictures[firsts + k]])
        decoded = decoder(faces)
        pictures = torch.from_numpy(np.stack([face.image for face in decoded])).clamp(0, 1)
        drawn.append(pictures)
        seen.append(np.concatenate([judge(part).numpy() for part in pictures.split(16)]))
        points = np.stack([face.landmarks for face in decoded])
        marks = np.stack([prepared.landmarks[int(row)] for row in test.targets[firsts]])
        for name, values in {
            "L1": measures.mean_absolute_error(pictures, true),
            "SSIM": measures.ssim(pictures, true),
            "sharpness of the face, true = 1": measures.sharpness(pictures).mean()
            / measures.sharpness(true).mean(),
            f"lattice (true pictures: {measures.lattice(true).mean():.2f})": measures.lattice(
                pictures
            ),
            "landmarks, pixels": torch.from_numpy(np.linalg.norm(points - marks, axis=2)),
        }.items():
            results.setdefault(name, []).append(float(values.mean()))
    photographs = np.stack([test.embeddings[int(row)] for row in test.groups.pictures[firsts]])
    print(f"{len(chosen)} unseen people, two photographs each, {given.decoder}")
    for name, values in results.items():
        print(f"{name}: {np.mean(values):.3f}")
    print(f"dlib R@1 / R@10, photograph itself: {recalls(photographs, wanted)}")
    for k in (0, 1):
        print(f"dlib R@1 / R@10, decoded photograph {k + 1}: {recalls(seen[k], wanted)}")
        found = recalls(small(drawn[k], COLOURS), small(true, COLOURS))
        print(f"colours R@1 / R@10, decoded photograph {k + 1}: {found}")
    traits(parts["train"], prepared, latents, [test.identities[i] for i in chosen], true, drawn)
    if given.sheet:
        sheet(given.sheet, prepared, test.groups.pictures[firsts], true, drawn[0])


def traits(
    known: FaceDecoderDataset,
    prepared: Prepared,
    latents: dict[str, Any],
    names: list[str],
    true: torch.Tensor,
    drawn: list[torch.Tensor],
) -> None:
    """Print what is read off true and drawn pictures of these people."""
    people = range(min(TRAINED, len(known.identities)))
    rows = [int(known.targets[known.groups.first_picture[i]]) for i in people]
    pixels = np.concatenate(
        [
            small(true_pictures(prepared, rows[i : i + 100]), PIXELS)
            for i in range(0, len(rows), 100)
        ]
    )
    learnt = [latents[known.identities[i]] for i in people]
    shown = {"true pictures": true, "decoded": drawn[0], "decoded, second photograph": drawn[1]}
    for trait in ("years", "size"):
        model = make_pipeline(PCA(COMPONENTS, random_state=0), RidgeCV(np.logspace(-2, 4, 13)))
        model.fit(pixels, [float(who[trait]) for who in learnt])
        truth = [float(latents[name][trait]) for name in names]
        for label, pictures in shown.items():
            r = np.corrcoef(model.predict(small(pictures, PIXELS)), truth)[0, 1]
            print(f"{trait}, r with the truth, off pixels, {label}: {r:.2f}")
    for trait in ("male", "ancestry"):
        model = make_pipeline(
            PCA(COMPONENTS, random_state=0), LogisticRegression(C=0.1, max_iter=2000)
        )
        model.fit(pixels, [who[trait] for who in learnt])
        truth = np.array([latents[name][trait] for name in names])
        for label, pictures in shown.items():
            right = (model.predict(small(pictures, PIXELS)) == truth).mean()
            print(f"{trait}, right, off pixels, {label}: {100 * right:.1f} %")


def sheet(path: Path, prepared: Prepared, rows: Any, true: Any, drawn: Any) -> None:
    """Write the first twelve people: photograph, true face, decoded face, a column each."""
    count = min(12, len(rows))
    lines = [true_pictures(prepared, rows[:count]), true[:count], drawn[:count]]
    pixels = np.concatenate([np.concatenate(list(line.numpy()), axis=2) for line in lines], axis=1)
    Image.fromarray((pixels.transpose(1, 2, 0) * 255 + 0.5).astype(np.uint8)).save(path)


if __name__ == "__main__":
    main()
