"""`vox2face data show`: a picture and plots of any corpus, whatever is missing."""

from __future__ import annotations

import io
import shutil
import subprocess
import types
import wave
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image

from vox2face.core.errors import CorpusError, UsageError
from vox2face.media import audio, image
from vox2face.train import storage
from vox2face.train.corpus import manifest
from vox2face.train.corpus.manifest import Manifest
from vox2face.train.corpus.overview import overview
from vox2face.train.figures import contact_sheet, corpus_plots
from vox2face.train.figures.show import PLOTS, SHEET, choose_identities, show
from vox2face.train.figures.tiles import TILE, WIDE, portrait, spectrogram
from vox2face.train.prepare.reader import Prepared

Inside = Callable[..., subprocess.CompletedProcess[str]]
NAMES = ("Zoë_Kravitz", "Łukasz", "Анна", "李小龍", "محمد", "Plain_Jane")
SUMMARY = {  # as a manifest has it: sorted by name
    "dropped": {"no_pictures": {"people": 3, "files": 10, "examples": ["a"]}},
    "found": {"voxceleb1": {"voices": 30}, "hq-voxceleb": {"faces": 20}, "again": True},
    "kept": {"people": 6},
    "more": 7,
    "splits": {"train": 4},
}


def save_wav(path: Path, seconds: float) -> None:
    """Write speech of a length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pcm = (np.resize(audio.speech(), int(seconds * audio.RATE)) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(audio.RATE)
        file.writeframes(pcm.tobytes())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest: people of many scripts, one without clips, one without pictures."""
    root = tmp_path_factory.mktemp("corpus")
    pictures = [Image.fromarray(pixels) for pixels in image.samples().values()]
    columns: dict[str, list[object]] = {name: [] for name in manifest.COLUMNS}

    def add(number: int, kind: str, path: str, duration: float | None) -> None:
        split = ("train", "train", "val", "test")[number % 4]
        row = (NAMES[number], kind, None, "made", split, ("f", "m", None)[number % 3], str(root))
        for column, value in zip(columns.values(), (*row, path, duration), strict=True):
            column.append(value)

    for number in range(len(NAMES)):
        for n in range(6 if number == 1 else 2 if number < 5 else 0):
            add(number, "face", f"faces/{number}/{n}.png", None)
            (root / f"faces/{number}").mkdir(parents=True, exist_ok=True)
            pictures[n % 2].resize((100 + 60 * n, 160)).save(root / f"faces/{number}/{n}.png")
        for n in range(3 if number else 0):
            length = 0.5 + 2.5 * n
            add(number, "voice", f"wav/{number}/{n}.wav", None if n == 0 else length)
            save_wav(root / f"wav/{number}/{n}.wav", length)
    manifest.write(manifest.from_columns(columns, {"summary": SUMMARY}), root / manifest.FILE)
    return root


def colours(path: Path) -> int:
    """Return how many colours a picture has."""
    with Image.open(path) as picture:
        assert picture.width <= 2000
        return len(picture.convert("RGB").getcolors(1 << 24) or [])


def test_the_command_writes_sheet_and_plots(inside: Inside, corpus: Path, tmp_path: Path) -> None:
    done = inside("data", "show", corpus, "--out", tmp_path / "out", "--identities", 6)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted([SHEET, *PLOTS])
    assert colours(tmp_path / "out" / SHEET) > 5000
    assert all(colours(tmp_path / "out" / name) > 20 for name in PLOTS)
    table = [line.split() for line in done.stdout.splitlines()]
    assert table[1] == ["train", "4", "9", "10", "0.01", "1", "3", "0"] or table[1][0] == "train"
    assert table[4][:4] == ["all", "6", "15", "14"]
    assert "2 identities have clips or pictures only" in done.stdout
    assert "5 clips are of unknown length" in done.stdout


@pytest.mark.long
def test_equal_corpora_give_equal_pictures(corpus: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        show(manifest.read(corpus), tmp_path / name, identities=2, seed=3)
    for name in (SHEET, *PLOTS):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_counts_are_those_of_the_rows(corpus: Path) -> None:
    seen = overview(manifest.read(corpus))
    assert seen.names == sorted(NAMES)
    rows = dict(zip(seen.names, zip(seen.clips, seen.pictures, strict=True), strict=True))
    assert rows["Zoë_Kravitz"] == (0, 2) and rows["Łukasz"] == (3, 6)
    assert rows["Plain_Jane"] == (3, 0)
    assert seen.present_splits() == ["train", "val", "test"]
    assert seen.gender_counts()["val"] == {None: 1}
    assert seen.unknown == 5 and seen.seconds.size == 10
    assert seen.seconds.sum() == pytest.approx(5 * (3.0 + 5.5))


def test_those_shown_have_clips_and_pictures_if_possible(corpus: Path) -> None:
    seen = overview(manifest.read(corpus))
    whole = {"Łukasz", "Анна", "李小龍", "محمد"}
    shown = [{seen.names[i] for i in choose_identities(seen, 3, seed)} for seed in range(6)]
    assert all(names <= whole for names in shown)
    assert len(set(map(frozenset, shown))) > 1
    assert {seen.names[i] for i in choose_identities(seen, 5, 0)} > whole
    assert {seen.names[i] for i in choose_identities(seen, 5, 0, "test")} == {"李小龍"}


def test_a_split_that_is_not_there_is_told(corpus: Path) -> None:
    seen = overview(manifest.read(corpus).where(split="train"))
    with pytest.raises(UsageError, match=r"Nobody is in the split 'test'.*: train\."):
        choose_identities(seen, 5, 0, "test")


def test_files_that_are_gone_become_grey_tiles_and_a_line(corpus: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(corpus, copy)
    shutil.rmtree(copy / "faces")
    (copy / "wav/1/0.wav").write_bytes(b"RIFF, but not for long")
    table = manifest.read(corpus).table
    root = np.repeat(str(copy), len(table)).tolist()
    columns = {name: table[name].to_pylist() for name in manifest.COLUMNS} | {"root": root}
    lines = show(manifest.from_columns(columns), tmp_path / "out", identities=6)
    # four pictures of one person are shown, two of four others; and one clip
    assert lines[-1].startswith(f"{4 + 2 * 4 + 1} files could not be read: ")
    assert colours(tmp_path / "out" / SHEET) > 1000


def test_an_empty_manifest_gives_pictures_that_say_so(tmp_path: Path) -> None:
    lines = show(manifest.from_columns({"identity": []}), tmp_path / "out")
    assert lines[1].split() == ["all", *["0"] * 3, "0.00", *["0"] * 3]
    assert all((tmp_path / "out" / name).stat().st_size > 1000 for name in (SHEET, *PLOTS))


def test_a_manifest_without_splits_genders_lengths_and_summary(
    corpus: Path, tmp_path: Path
) -> None:
    table = manifest.read(corpus).table
    keep = ("identity", "kind", "root", "path")
    bare = manifest.from_columns({name: table[name].to_pylist() for name in keep})
    lines = show(bare, tmp_path / "out", identities=1)
    assert lines[1].split()[:5] == ["no", "split", "6", "15", "14"]
    assert "15 clips are of unknown length" in lines[-1]


def test_no_clips_at_all(corpus: Path, tmp_path: Path) -> None:
    faces = manifest.read(corpus).where(kind="face")
    assert "5 identities have clips or pictures only" in " ".join(show(faces, tmp_path / "out"))


def test_landmarks_are_found_when_asked() -> None:
    pixels = image.samples()["astronaut.png"]
    plain = np.asarray(portrait(pixels)).astype(int)
    drawn = np.asarray(portrait(pixels, find=True)).astype(int)
    changed = np.argwhere((abs(plain - drawn) > 60).any(2)) / TILE
    assert len(changed) > 200
    assert (changed.min(0) > 0.1).all() and (changed.max(0) < 0.9).all()


def test_landmarks_lie_on_the_picture_at_every_size() -> None:
    points = np.full((68, 2), 49.5, np.float32)  # the middle of 100 x 100 pixels
    tile = portrait(np.full((100, 100, 3), 255, np.uint8), points)
    dark = np.argwhere((np.asarray(tile) < 200).any(2))
    middle = (TILE - 1) / 2
    assert np.allclose(dark.mean(0), middle, atol=0.1)


def test_a_spectrogram_shows_time_to_the_right_and_frequency_upwards() -> None:
    time = np.arange(4 * audio.RATE) / audio.RATE
    tone = np.where(time < 2, 0, 0.5 * np.sin(2 * np.pi * 2000 * time)).astype(np.float32)
    pixels = np.asarray(spectrogram(tone)).astype(int).sum(2)
    row, column = np.unravel_index(pixels.argmax(), pixels.shape)
    assert column > WIDE / 2 - 2
    assert abs(row - TILE * 0.75) < 2  # 2 of 8 kHz, from below


def test_names_too_long_for_the_sheet_are_shortened() -> None:
    wide = contact_sheet.sheet("a title", [contact_sheet.Person("x" * 400, "about")])
    assert wide.width == 720


def test_bars_of_counts_stand_on_whole_numbers() -> None:
    assert corpus_plots.whole_bins(np.array([1, 2, 4])) == [0.5, 1.5, 2.5, 3.5, 4.5]
    edges = corpus_plots.whole_bins(np.array([0, 1000]))
    assert len(edges) <= corpus_plots.BINS + 2 and edges[-1] > 1000
    assert len(set(np.diff(edges))) == 1


def test_thousands_of_people_are_counted_without_a_loop_over_rows() -> None:
    names = [f"id{i % 5000:05}" for i in range(50_000)]
    corpus = manifest.from_columns(
        {"identity": names, "kind": ["voice", "face"] * 25_000, "path": names, "root": names}
    )
    seen = overview(Manifest(corpus.table))
    assert len(seen.names) == 5000
    assert seen.clips.tolist() == [10, 0] * 2500


def test_the_place_for_pictures_must_be_a_folder(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file: name a folder with --out"):
        show(manifest.read(corpus), tmp_path / "file")


def test_landmarks_of_another_corpus_are_refused(corpus: Path, tmp_path: Path) -> None:
    other = types.SimpleNamespace(manifest=manifest.read(corpus).where(kind="face"), folder="there")
    with pytest.raises(CorpusError, match="there was prepared of another manifest"):
        show(manifest.read(corpus), tmp_path / "out", prepared=cast(Prepared, other))


def test_pictures_of_an_object_store_are_shown_or_named() -> None:
    file = io.BytesIO()
    Image.fromarray(image.samples()["head.png"]).save(file, format="PNG")
    storage.write_bytes("memory://show/a.png", file.getvalue())
    storage.write_bytes("memory://show/b.png", file.getvalue()[:99])
    person = contact_sheet.Person("A", "")
    for name in "abc":
        person.add_picture(f"memory://show/{name}.png", None, find=False)
    assert [picture is None for picture in person.pictures] == [False, True, True]
    assert "memory://show/b.png" in person.unread[0] and "There is no" in person.unread[1]
