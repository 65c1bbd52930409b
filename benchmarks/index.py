"""What indexing VoxCeleb2 costs: a tree of its shape is made, indexed, and removed.

    python benchmarks/index.py [--folder DIR] [--rounds 1] [--cold] [--clips 1128246]

The tree has VoxCeleb2's 6,112 speakers, 150,480 videos and 1,128,246 recordings, a metadata file
like full_vox2_meta.csv (6,114 rows, one name in nine with letters outside ASCII), and as many
pictures as HQ-VoxCeleb. All files are a hole of one byte: they have a size, but take no room on
the disk except for 1.3 million inodes. Each run is a whole process: seconds and peak memory.
`--cold` empties the system's caches before each run, which only an administrator may do.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import run

# Chung, Nagrani, Zisserman: VoxCeleb2, Interspeech 2018; Bai et al.: SF2F, for the pictures
SPEAKERS, VIDEOS, CLIPS = 6112, 150_480, 1_128_246
PEOPLE_WITH_PICTURES, PICTURES = 3638, 8028
ROWS = 6114
HEADER = "Class_ID,Name,Sample_Num,Flag,Gender_x,VoxCeleb2ID,VGGFace2ID,Gender_y,Set"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
ACCENTED = ("é", "ł", "ø", "ć", "ş", "ñ", "č", "ü")


def name_of(index: int) -> str:
    """Return a name that nobody else has."""
    accent = ACCENTED[index % len(ACCENTED)] if index % 9 == 0 else "a"
    return f"Person_{accent}{index:05d}_Lastname"


def shares(total: int, parts: int, rng: np.random.Generator) -> list[int]:
    """Return counts of at least 1 that add up, as uneven as a corpus's."""
    weights = rng.gamma(4.0, size=parts)
    counts = 1 + np.floor(weights / weights.sum() * (total - parts)).astype(int)
    counts[: total - counts.sum()] += 1
    return [int(count) for count in counts]


def hole(path: str) -> None:
    """Make a file of one byte that takes no room."""
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL)
    os.ftruncate(file, 1)
    os.close(file)


def make_voices(root: Path, clips: int) -> None:
    """Make the recordings: dev/aac/id00012/VIDEO/00001.m4a."""
    rng = np.random.default_rng(0)
    videos = iter(shares(VIDEOS * clips // CLIPS, SPEAKERS, rng))
    files = iter(shares(clips, VIDEOS * clips // CLIPS, rng))
    for speaker in range(SPEAKERS):
        home = f"{root}/{'test' if speaker % 51 == 0 else 'dev'}/aac/id{speaker + 12:05d}"
        for _ in range(next(videos)):
            video = f"{home}/{''.join(rng.choice(list(LETTERS), 11))}"
            os.makedirs(video)
            for number in range(next(files)):
                hole(f"{video}/{number + 1:05d}.m4a")


def make_pictures(root: Path) -> None:
    """Make the pictures: vox2/masked_faces/NAME/1.jpg."""
    people = range(0, SPEAKERS, SPEAKERS // PEOPLE_WITH_PICTURES)
    for index in list(people)[:PEOPLE_WITH_PICTURES]:
        home = f"{root}/vox2/masked_faces/{name_of(index)}"
        os.makedirs(home)
        for number in range(2 + (index < 2 * (PICTURES - 2 * PEOPLE_WITH_PICTURES))):
            hole(f"{home}/{number + 1}.jpg")


def make_metadata(root: Path) -> None:
    """Write full_vox2_meta.csv."""
    rows = [HEADER]
    for i in range(ROWS):
        gender = "m" if i % 5 < 3 else "f"
        ids = f"n{i:06d},{name_of(i)},300,1,{gender},id{i + 12:05d},n{i:06d},{gender}"
        rows.append(f"{ids},{'test' if i % 51 == 0 else 'dev'}")
    (root / "full_vox2_meta.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def forget() -> None:
    """Empty the system's caches of files and folders."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def main() -> None:
    """Make the tree, measure, and remove it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, help="Where to make it. Default: the temporary folder"
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--cold", action="store_true")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="vox2face-index-", dir=options.folder))
    free = os.statvfs(root).f_favail
    if free < options.clips * 1.3:
        raise SystemExit(f"{root} has {free} inodes free, too few: name another --folder.")
    try:
        start = time.perf_counter()
        make_voices(root, options.clips)
        make_pictures(root)
        make_metadata(root)
        print(f"Tree of {options.clips:,} recordings made in {time.perf_counter() - start:.0f} s")
        index = [sys.executable, "-m", "vox2face", "data", "index", "--voxceleb2", str(root)]
        index += ["--out", str(root / "m.parquet"), "--force"]
        kinds = {
            "voices": [],
            "voices, without sizes": ["--allow-empty"],
            "voices and faces": ["--hq-voxceleb", str(root), "--keep", "all"],
        }
        for _ in range(options.rounds):
            for what, more in kinds.items():
                if options.cold:
                    forget()
                cost = run([*index, *more])
                size = (root / "m.parquet").stat().st_size
                print(
                    f"{what:<24}{cost.seconds:6.1f} s {cost.memory / 1e6:6.0f} MB peak, "
                    f"manifest {size / 1e6:.1f} MB"
                )
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
