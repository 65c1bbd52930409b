"""A corpus in Speech-to-face's folders and back, data sets over them, and resized pictures."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vox2face.core.errors import CorpusError, UsageError
from vox2face.media import audio, image
from vox2face.train.corpus import index, manifest, speech_to_face
from vox2face.train.export.files import folder_names
from vox2face.train.export.resize import resize
from vox2face.train.export.speech_to_face import Options, export
from vox2face.train.media import save_wav

Inside = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people with real speech and real faces, one of them with a name beyond ASCII."""
    root = tmp_path_factory.mktemp("corpus")
    speech, face = audio.speech(), image.samples()["astronaut.png"]
    for name in ("Zoë", "Ann"):
        save_wav(root / "v" / name / "a.wav", speech[:32000], synthetic=False)
        save_wav(root / "v" / name / "b.wav", speech[16000:40000], synthetic=False)
        (root / "f" / name).mkdir(parents=True)
        Image.fromarray(face).save(root / "f" / name / "1.png")
        Image.fromarray(face[:, ::-1]).save(root / "f" / name / "2.jpg")
    made = index.index(index.Sources(voices=root / "v", faces=root / "f"))
    manifest.write(made.manifest, root / "manifest.parquet")
    return root


@pytest.fixture(scope="module")
def prepared(corpus: Path) -> Path:
    from vox2face.train.prepare.options import Options as Preparing
    from vox2face.train.prepare.run import prepare

    chosen = ("embeddings", "landmarks", "pictures")
    prepare(corpus, corpus / "prepared", Preparing(stages=chosen, crop=True, jobs=1))
    return corpus / "prepared"


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_media_come_back_under_the_names_of_their_people(corpus: Path, tmp_path: Path) -> None:
    made = export(manifest.read(corpus), tmp_path / "out", Options(ascii=True), None)
    assert made.written == 8 and not made.failures
    assert "Zoe/audios/00001.wav" in files(tmp_path / "out")
    assert "Zoe/images/00001.jpg" in files(tmp_path / "out")  # was PNG
    again = index.index(index.Sources(speech_to_face=tmp_path / "out"))
    assert again.manifest.identities() == ["Ann", "Zoë"]
    assert (corpus / "v" / "Zoë").is_dir()  # nothing was renamed
    for file, source in list(csv.reader((tmp_path / "out" / "files.csv").read_text().split()))[1:]:
        if file.endswith(".wav"):
            assert (tmp_path / "out" / file).read_bytes() == Path(source).read_bytes()


def test_an_export_goes_on_and_refuses_other_options(corpus: Path, tmp_path: Path) -> None:
    table, out = manifest.read(corpus), tmp_path / "out"
    export(table, out, Options(link=True), None)
    assert (out / "Zoë/audios/00001.wav").stat().st_ino == (
        corpus / "v" / "Zoë" / "a.wav"
    ).stat().st_ino
    (out / "Zoë/audios/00001.wav").unlink()
    made = export(table, out, Options(link=True), None)
    assert (made.written, made.kept) == (1, 7)
    with pytest.raises(UsageError, match="was made with ascii False, not True"):
        export(table, out, Options(ascii=True), None)


def test_spectrograms_and_embeddings_are_those_of_the_repo(
    corpus: Path, prepared: Path, tmp_path: Path, inside: Inside
) -> None:
    from vox2face.train.datasets.speech_to_face import SpectrogramDataset
    from vox2face.train.prepare.reader import open_prepared

    done = inside(
        *("data", "export", corpus, "--for", "voice", "--prepared", prepared),
        *("--out", tmp_path / "out"),
    )
    assert done.returncode == 0, done.stderr
    dataset = SpectrogramDataset(tmp_path / "out", "all-to-all")
    assert len(dataset) == 2 * 2 * 2
    item = dataset[0]
    assert item["spectrogram"].shape == (2, 257, 601)
    there = open_prepared(prepared)
    embeddings = np.stack([there.embeddings[row] for row in there.numbers("face")])
    assert (embeddings == item["embedding"].numpy()).all(1).any()


def test_filter_banks_keep_the_batch_axis_that_the_repo_expects(
    corpus: Path, prepared: Path, tmp_path: Path
) -> None:
    from vox2face.train.datasets.speech_to_face import SpectrogramDataset
    from vox2face.train.prepare.reader import open_prepared

    options = Options("voice", spectrograms="ast-speech-to-face")
    export(manifest.read(corpus), tmp_path / "out", options, open_prepared(prepared))
    stored = np.load(tmp_path / "out" / "Ann" / "audios" / "00001.npy")
    assert stored.shape == (1, 1024, 128) and stored.dtype == np.float32
    assert SpectrogramDataset(tmp_path / "out")[0]["spectrogram"].shape == (1024, 128)


def test_pictures_with_landmarks_come_back_as_prepared(
    corpus: Path, prepared: Path, tmp_path: Path
) -> None:
    from vox2face.train.datasets.speech_to_face import PictureDataset
    from vox2face.train.prepare.reader import open_prepared

    there = open_prepared(prepared)
    export(manifest.read(corpus), tmp_path / "out", Options("decoder"), there)
    assert np.load(tmp_path / "out/Ann/images/00001_landmarks.npy").shape == (144,)
    item = PictureDataset(tmp_path / "out")[0]
    row = int(there.numbers("face")[0])
    np.testing.assert_allclose(item["landmarks"], there.landmarks[row], atol=1e-4)
    away = item["picture"].numpy().transpose(1, 2, 0).astype(int) - there.picture(row)
    assert np.abs(away).mean() < 3  # JPEG


def test_names_in_ascii_are_never_shared() -> None:
    folders = folder_names(["Zoé", "Zoë", "zoe", "李"], plain=True)
    assert sorted(folders.values()) == ["Zoe", "Zoe_2", "person", "zoe_3"]
    assert folder_names(["A/B"], plain=False) == {"A/B": "A_B"}


def test_a_bad_file_costs_one_line(tmp_path: Path, inside: Inside) -> None:
    for kind, name in (("v", "a.mp3"), ("f", "1.png")):
        (tmp_path / kind / "Ann").mkdir(parents=True)
        (tmp_path / kind / "Ann" / name).write_bytes(b"not that at all")
    save_wav(tmp_path / "v" / "Ann" / "b.wav", audio.speech()[:20000], synthetic=False)
    made = index.index(index.Sources(voices=tmp_path / "v", faces=tmp_path / "f"))
    manifest.write(made.manifest, tmp_path / "manifest.parquet")
    done = inside("data", "export", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert len((tmp_path / "out" / "failures.csv").read_text().splitlines()) == 3
    assert (tmp_path / "out" / "Ann" / "audios" / "00002.wav").is_file()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "There is no"),
        ({}, "no spectrograms or embeddings"),
        ({"x.npy": b"?"}, "not an array"),
    ],
)
def test_folders_of_something_else_are_one_sentence(
    content: dict[str, bytes] | None, words: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    if content is not None:
        (root / "Ann" / "audios").mkdir(parents=True)
        for name, data in content.items():
            (root / "Ann" / "audios" / name).write_bytes(data)
    with pytest.raises(CorpusError, match=words):
        for person in speech_to_face.read_folder(root):
            speech_to_face.load_array(person.spectrograms[0])


def test_pictures_are_resized_in_their_folders(tmp_path: Path, inside: Inside) -> None:
    face = image.samples()["astronaut.png"]
    for name in ("Zoë/1.png", "Zoë/1.webp", "Ann/2.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(tmp_path / "in" / name)
    (tmp_path / "in" / "Ann" / "3.jpg").write_bytes(b"no picture")
    done = inside("data", "resize", tmp_path / "in", "--out", tmp_path / "out", "--size", 64)
    assert done.returncode == 1 and "Ann/3.jpg" in done.stderr
    pictures = [name for name in files(tmp_path / "out") if name.endswith(".jpg")]
    assert pictures == ["Ann/2.jpg", "Zoë/1.png.jpg", "Zoë/1.webp.jpg"]
    assert image.decode(tmp_path / "out" / "Ann/2.jpg").shape == (64, 64, 3)
    assert resize(tmp_path / "in", tmp_path / "out", 64).kept == 3
    with pytest.raises(UsageError, match="was made with size 64, not 32"):
        resize(tmp_path / "in", tmp_path / "out", 32)
