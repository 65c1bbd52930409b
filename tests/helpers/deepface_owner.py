"""One side of docs/from-deepface.md, in a process of its own.

    python deepface_owner.py before|after PAGE.md OUT.pickle

Nothing of deepface is changed but its detector, whose file is not at hand: it is told where the
face is. What deepface cuts out there, and turns, is its own work.
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_USE_LEGACY_KERAS="1", CUDA_VISIBLE_DEVICES="")
os.environ["DEEPFACE_BACKEND_ENGINE"] = "tensorflow"

import page_pairs  # beside this file
from deepface.models.Detector import FacialAreaRegion
from deepface.modules import modeling


class Finder:
    """A face in the middle of the picture, whose eyes are not level."""

    def detect_faces(self, img: Any) -> list[FacialAreaRegion]:
        height, width = img.shape[:2]
        eyes = {
            "left_eye": (5 * width // 8, 3 * height // 8),
            "right_eye": (3 * width // 8, 7 * height // 16),
        }
        part = (width // 8, height // 8, 3 * width // 4, 3 * height // 4)
        return [FacialAreaRegion(*part, confidence=0.9, **eyes)]


def main(side: str, page: str, out: str) -> None:
    build = modeling.build_model
    modeling.build_model = lambda task, model_name: (
        Finder() if task == "face_detector" else build(task, model_name)
    )
    values = page_pairs.run(Path(page), ["before", "after"].index(side))
    Path(out).write_bytes(pickle.dumps(values))


if __name__ == "__main__":
    main(*sys.argv[1:])
