"""The evaluation of a whole corpus: who is measured, what stands beside it, and its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from helpers.twins import random_module
from PIL import Image

import vox2face
from vox2face.cli import evaluate as cli
from vox2face.core.entry import Space
from vox2face.core.errors import CorpusError, UsageError, Vox2FaceError
from vox2face.media.audio import decode, speech
from vox2face.runtime import load as runtime
from vox2face.train.corpus import manifest
from vox2face.train.evaluate import decoded_faces, files, protocol
from vox2face.train.evaluate import run as evaluate_run
from vox2face.train.evaluate.embeddings import Voices
from vox2face.train.evaluate.options import Options
from vox2face.train.evaluate.prepared import PreparedArrays
from vox2face.train.evaluate.report import report, table
from vox2face.train.evaluate.test_set import read_corpus
from vox2face.train.metrics.statistics import Interval
from vox2face.train.prepare import reader
from vox2face.zoo import registry

Make = Callable[..., Path]
WIDTH = 48
VOICE = "mlp_head.resemblyzer"
PEOPLE, CLIPS, PICTURES = 16, 2, 3


class Invented:
    """A corpus whose embeddings and landmarks are drawn, with files of speech and of colours."""

    def __init__(self, folder: Path, wav: Callable[..., Path], people: int = PEOPLE) -> None:
        self.folder, rng = folder, np.random.default_rng(0)
        self.rows: dict[str, list[Any]] = {name: [] for name in (*manifest.DICTIONARIES, "path")}
        self.values: list[np.ndarray] = []
        base = rng.normal(size=WIDTH)
        lines = ["identity,speaker,split,male,years,size,ancestry"]
        for number in range(people):
            name, split = f"P{number:02d}", "train" if number % 2 else "test"
            male, years = bool(number % 3), 20 + 60 * float(rng.random())
            size, ancestry = float(rng.normal()), number % 3
            lines.append(f"{name},id{number},{split},{male},{years},{size},{ancestry}")
            person = base + rng.normal(size=WIDTH)
            for clip in range(CLIPS):
                start = int(rng.integers(20_000))
                wav(f"{name}-{clip}.wav", start, start + 6000)
                self.add(name, "voice", split, male, f"{name}-{clip}.wav", None)
            for picture in range(PICTURES):
                colour = np.full((8, 8, 3), rng.integers(255, size=3), np.uint8)
                Image.fromarray(colour).save(folder / f"{name}-{picture}.png")
                value = person + 0.2 * rng.normal(size=WIDTH)
                self.add(name, "face", split, male, f"{name}-{picture}.png", value)
        self.people = folder / "people.csv"
        self.people.write_text("\n".join(lines) + "\n")
        self.points = rng.normal(size=(len(self.values), 68, 2)) + 3.0 * np.arange(68)[:, None]

    def add(self, name: str, kind: str, split: str, male: bool, path: str, value: Any) -> None:
        gender, source = "m" if male else "f", "voxceleb1" if kind == "voice" else "hq-voxceleb"
        row = (name, kind, None, source, split, gender, str(self.folder), path)
        for column, word in zip(self.rows, row, strict=True):
            self.rows[column].append(word)
        self.values.append(np.full(WIDTH, np.nan) if value is None else value)

    @property
    def manifest(self) -> manifest.Manifest:
        return manifest.from_columns(self.rows)

    def space(self, name: str) -> Space:
        return Space("vggface.serengil", "deepface", "a" * 64)

    def faces(self, name: str) -> np.ndarray:
        return np.array(self.values, np.float32)

    def landmarks(self) -> np.ndarray:
        return self.points.astype(np.float32)

    def picture(self, row: int) -> np.ndarray:
        return np.asarray(Image.open(self.folder / self.rows["path"][row]))

    def encoder(self, name: str, device: str) -> Any:
        return colours


class Hearing:
    """A voice encoder that takes less time than a network: the levels of some bands."""

    entry, preset, backend, bundle, width = registry.entry(VOICE), "none", "torch", None, WIDTH
    space = Space("vggface.serengil", "deepface")

    def preprocess(self, file: str) -> Any:
        tones = np.abs(np.fft.rfft(decode(file), 16_000))[: 40 * WIDTH]
        return np.log(tones.reshape(1, WIDTH, 40).mean(2))

    def embed(self, inputs: Any) -> np.ndarray:
        return np.concatenate(inputs).astype(np.float32)


@pytest.fixture
def hearing(monkeypatch: pytest.MonkeyPatch) -> Hearing:
    """Let the name "hearing" be a voice encoder."""
    real, fake = runtime.load_kind, Hearing()

    def load(kind: Any, name: Any, **options: Any) -> Any:
        known = {"hearing": fake, "colours": colours}
        return known[name] if name in known else real(kind, name, **options)

    monkeypatch.setattr(runtime, "load_kind", load)
    return fake


class Colours:
    """A face network that embeds mean colours, with three classes."""

    width, classes, bundle = WIDTH, 3, None
    entry = registry.entry("vggface.serengil")

    def require_classes(self) -> None:
        """It has them."""

    def __call__(self, pictures: Any) -> np.ndarray:
        means = np.array([np.asarray(p, np.float32).mean((0, 1)) for p in pictures])
        return np.tile(means + 1, (1, WIDTH // 3)).astype(np.float32)

    def logits(self, pictures: Any) -> np.ndarray:
        return self(pictures)[:, :3]


colours = Colours()


@pytest.fixture
def corpus(tmp_path: Path, wav: Callable[..., Path]) -> Invented:
    return Invented(tmp_path, wav)


def evaluated(corpus: Invented, voices: Voices | None = None, **options: Any) -> Any:
    chosen = Options(**{"face": "invented", "pool": None, **options})
    return evaluate_run.run(corpus.manifest, corpus, chosen, voices or Voices())


def drawn_setting(people: int = 30, seed: int = 0, **options: Any) -> protocol.Protocol:
    rng = np.random.default_rng(seed)
    faces = rng.normal(size=(people, 1, WIDTH)) + 0.3 * rng.normal(size=(people, 3, WIDTH))
    genders: list[str | None] = ["f" if i % 2 else "m" for i in range(people)]
    names = [f"P{i}" for i in range(people)]
    owners = np.repeat(np.arange(people), 3)
    return protocol.make_protocol(names, genders, faces.reshape(-1, WIDTH), owners, **options)


def test_the_gallery_is_the_mean_over_all_pictures() -> None:
    where = drawn_setting()
    np.testing.assert_allclose(where.gallery, where.pictures.reshape(30, 3, WIDTH).mean(1))


def test_own_faces_are_found_and_exchanged_ones_are_not() -> None:
    where = drawn_setting(60, size=30)
    found = protocol.evaluate_queries(where, where.gallery, np.arange(60))
    assert found.recall.at["R@1"] == Interval(1, 1, 1)
    assert found.shuffled.recall.at["R@1"].mean == 0
    assert found.similarity["cosine"].mean > 0.9
    assert abs(found.shuffled.cosine.mean) < 0.1
    assert found.within is not None and found.within.pool == (15, 15)
    assert all(found.within.excludes_chance.values())


def test_voices_that_know_the_gender_alone_are_at_the_gender_oracle() -> None:
    rng = np.random.default_rng(1)
    male = np.arange(400) % 2 == 0
    faces = rng.normal(size=(400, WIDTH)) + 30 * male[:, None]
    genders: list[str | None] = ["m" if m else "f" for m in male]
    names = [str(i) for i in range(400)]
    where = protocol.make_protocol(names, genders, faces, np.arange(400), 100, 4)
    queries = rng.normal(size=(400, WIDTH)) + 30 * male[:, None]
    found = protocol.evaluate_queries(where, queries, np.arange(400))
    oracle = protocol.references(where).gender_oracle
    assert oracle is not None and oracle["R@10"] == pytest.approx(0.2)
    assert found.recall.at["R@10"].low < oracle["R@10"] < found.recall.at["R@10"].high
    assert found.within is not None and not found.within.excludes_chance["R@10"]


def test_clips_are_paired_with_the_pictures_of_their_person_in_turn() -> None:
    owners = np.array([1, 0, 1, 1, 0])  # of the pictures
    got = protocol.partners(np.array([0, 1, 0, 1, 0, 1, 1]), owners)
    assert got.tolist() == [1, 0, 4, 2, 1, 3, 0]


def test_groups_of_few_people_are_left_out() -> None:
    where = drawn_setting(30)
    kinds: list[str | None] = ["a"] * 20 + ["b"] * 4 + [None] * 6
    found = protocol.group_table(where, where.gallery, np.arange(30), kinds)
    assert list(found.groups) == ["a"] and found.left_out == 10
    assert found.groups["a"].people == 20
    whole = protocol.evaluate_queries(where, where.gallery, np.arange(30))
    every = protocol.group_table(where, where.gallery, np.arange(30), ["x"] * 30)
    assert every.groups["x"].at["R@5"] == whole.recall.at["R@5"]


def test_columns_of_numbers_are_cut_into_quarters() -> None:
    groups = protocol.binned([str(i) for i in range(100)])
    assert [groups.count(g) for g in sorted(set(groups), key=str)] == [25, 25, 25, 25]
    assert protocol.binned(["x", "", None, "y"]) == ["x", None, None, "y"]
    assert protocol.binned(["1", "2", "1"]) == ["1", "2", "1"]


def test_the_picture_that_is_decoded_is_not_in_the_gallery() -> None:
    held, rest = protocol.held_out(np.array([0, 1, 1, 2, 2, 2]))
    assert held.tolist() == [1, 3] and rest.tolist() == [2, 4, 5]


def test_people_need_voice_and_face_and_come_by_corpus_then_name(corpus: Invented) -> None:
    where = {"voxceleb2": {"P00", "P04"}}
    for row, name in enumerate(corpus.rows["identity"]):
        if name in where["voxceleb2"] and corpus.rows["kind"][row] == "voice":
            corpus.rows["source"][row] = "voxceleb2"
        if name == "P02" and corpus.rows["kind"][row] == "face":
            corpus.values[row] = np.full(WIDTH, np.nan)
    found = read_corpus(corpus.manifest, "test", corpus.faces(""))
    assert found.names == ("P06", "P08", "P10", "P12", "P14", "P00", "P04")
    assert any("P02: voice or face is missing" in line for line in found.lost)
    assert any("P02-0.png: it has no embedding" in line for line in found.lost)
    assert all(found.names[i] in path for i, path in zip(found.speakers, found.clips, strict=True))
    assert all(
        found.names[i] in path for i, path in zip(found.sitters, found.pictures, strict=True)
    )
    with pytest.raises(UsageError, match="no rows of the split 'val'; there are: test, train"):
        read_corpus(corpus.manifest, "val", corpus.faces(""))


def test_two_runs_give_the_same_bytes(corpus: Invented, hearing: Hearing, tmp_path: Path) -> None:
    options = {
        "voice": "hearing",
        "baseline": "hearing",
        "latents": str(corpus.people),
        "groups": (f"{corpus.people}:ancestry",),
    }
    for name in ("one", "two"):
        files.write(evaluated(corpus, **options), tmp_path / name)
    for name in (files.RESULTS, files.TABLE, files.SHEET):
        first = (tmp_path / "one" / name).read_bytes()
        assert first and first == (tmp_path / "two" / name).read_bytes()
    found = json.loads((tmp_path / "one" / files.RESULTS).read_text())
    assert found["pool"]["size"] == PEOPLE // 2 and found["pool"]["pools"] == 1
    assert found["references"]["random"]["R@1"] == pytest.approx(1 / 8)
    assert set(found["systems"]) == {VOICE, f"ridge on {VOICE}"}
    assert set(found["shares"]) >= set(found["systems"])
    assert len(found["ancestry"]) == 3 and found["vox2face"] == vox2face.__version__
    text = (tmp_path / "one" / files.TABLE).read_text()
    assert "pool of 8 people" in text and "random, K/8" in text and "latent oracle" in text
    with Image.open(tmp_path / "one" / files.SHEET) as page:
        assert page.width > 800


def test_embeddings_of_voices_are_kept_and_used_again(
    corpus: Invented, hearing: Hearing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluated(corpus, Voices(tmp_path / "kept"), voice="hearing")
    assert list((tmp_path / "kept").glob("*.safetensors"))
    monkeypatch.setattr(hearing, "preprocess", None)
    again = evaluated(corpus, Voices(tmp_path / "kept"), voice="hearing")
    assert first.results == again.results


def test_kept_embeddings_of_other_clips_or_damaged_ones_are_not_used(
    corpus: Invented, hearing: Hearing, tmp_path: Path
) -> None:
    def first() -> np.ndarray:
        voices = Voices(tmp_path / "kept")
        return voices.embed(hearing, [str(tmp_path / "P00-0.wav")])[0]  # type: ignore[arg-type]

    before = first()
    (kept,) = (tmp_path / "kept").glob("*.safetensors")
    for damage in (b"", b"no array at all", kept.read_bytes()[:-40]):
        kept.write_bytes(damage)
        np.testing.assert_array_equal(first(), before)
    clip = tmp_path / "P00-0.wav"
    clip.write_bytes(clip.read_bytes()[:44] + clip.read_bytes()[:43:-1])  # as long as it was
    assert not np.array_equal(first(), before)


def test_failures_name_the_clip_and_may_be_of_a_store(
    corpus: Invented, hearing: Hearing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "embed", lambda inputs: np.zeros((len(inputs), WIDTH)))
    clips = ["memory://corpus/none.wav", str(tmp_path / "P00-0.wav")]
    _, failures = Voices(max_failures=1).embed(hearing, clips)  # type: ignore[arg-type]
    assert "There is no memory://corpus/none.wav" in failures[0]
    assert failures[1] == f"{clips[1]}: the network gives zero or no numbers for it"


def test_bad_clips_are_left_out_and_listed_up_to_a_part(
    corpus: Invented, hearing: Hearing, tmp_path: Path
) -> None:
    for name in ("P00-0.wav", "P02-0.wav", "P02-1.wav"):
        (tmp_path / name).write_bytes(b"RIFF")
    with pytest.raises(CorpusError, match="of 16 clips cannot be used, more than"):
        evaluated(corpus, voice="hearing")
    found = evaluated(corpus, Voices(max_failures=0.5), voice="hearing")
    assert found.corpus.names == tuple(f"P{i:02d}" for i in range(0, PEOPLE, 2) if i != 2)
    assert sum("P02" in line for line in found.results.skipped) == 3
    assert "Left out: " in report(found.results)


@pytest.fixture
def deaf(hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> Hearing:
    """Let hearing a clip be a failure: all that follows has to be refused before."""

    def never(file: str) -> Any:
        raise AssertionError("a clip was heard before all was checked")

    monkeypatch.setattr(hearing, "preprocess", never)
    return hearing


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "nothing to evaluate"),
        ({"face_to_face": True}, "name a --decoder"),
        ({"voice": "hearing", "classifier": "colours"}, "name a --decoder"),
        ({"face_to_face": True, "decoder": "any", "fuse": True}, "none is given: name a --voice"),
        ({"face_to_face": True, "decoder": "any", "groups": ("a:b",)}, "none is given"),
        ({"voice": "hearing", "distance": "far"}, "no distance 'far': choose cosine"),
        ({"voice": "hearing", "max_failures": float("nan")}, "give a part of the clips"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Options(**options).checked()


@pytest.mark.parametrize(
    ("pool", "pools", "words"),
    [
        (100, None, "8 identities with voice and face in the split 'test', too few for a pool of "
                    "100: add --pool all, which ranks all 8, or a smaller one such as --pool 4"),
        (3, 4, "too few for 4 disjoint pools of 3: give --pools 2, or --pool 2"),
        (9, 2, "too few for 2 disjoint pools of 9: add --pool all, .*, without --pools, or --pool 4"
         ),
        (8, 5, "too few for 5 disjoint pools of 8: give --pools 1[.]$"),
    ],
)  # fmt: skip
def test_pools_of_too_few_people_are_refused_with_the_options_to_give(
    corpus: Invented, deaf: Hearing, pool: int, pools: int | None, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        evaluated(corpus, voice="hearing", pool=pool, pools=pools)


def test_one_person_cannot_be_ranked(
    deaf: Hearing, tmp_path: Path, wav: Callable[..., Path]
) -> None:
    with pytest.raises(UsageError, match=r"two or more identities .* there is 1: choose another"):
        evaluated(Invented(tmp_path, wav, 1), voice="hearing", pool=None)


def test_people_lost_with_their_clips_are_missed_by_the_pools(
    corpus: Invented, hearing: Hearing, tmp_path: Path
) -> None:
    for name in ("P02-0.wav", "P02-1.wav"):
        (tmp_path / name).write_bytes(b"RIFF")
    with pytest.raises(UsageError, match="There are 7 identities with a readable voice and a face"):
        evaluated(corpus, Voices(max_failures=0.5), voice="hearing", pool=8)


@pytest.mark.parametrize(
    ("option", "text", "words"),
    [
        ("table.csv", "identity,x\nP00,1\n", "names no column: write --groups FILE.csv:COLUMN"),
        ("table.csv:", "identity,x\nP00,1\n", "names no column"),
        ("s3://bucket/table.csv", "", "names no column"),
        ("table.csv:y", "identity,x\nP00,1\n", "no column 'y', but identity, x[.]$"),
        ("table.csv:x", "", "has no rows with a column 'identity': give a CSV file"),
        ("table.csv:x", "identity,x\n", "has no rows .*, but the columns identity, x: give"),
        ("table.csv:x", "name;x\nP00;1\n", "with a column 'identity', but the columns name;x: "),
        ("table.csv:y", "identity,x\nP00,1,2\n", "more values for 'P00' than columns: put"),
        ("table.csv:x", "identity,x\nP00," + 200_000 * "y", "cannot be read as CSV .field larger"),
        ("table.csv:x", "identity,x\nP00,\xff\n", "is not text in UTF-8"),
        ("table.csv:x", "identity,x\nP00,1\nP00,2\n", "gives P00 two values of 'x'"),
        ("table.csv:x", "identity,x\nA,1\nP00,\n", "for none of the 8 .* such as 'A', .*'P00'"),
        ("nothing.csv:x", "", "There is no .*nothing.csv"),
    ],
)
def test_groups_that_cannot_be_read_are_refused(
    corpus: Invented, deaf: Hearing, monkeypatch: pytest.MonkeyPatch,
    option: str, text: str, words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(corpus.folder)
    (corpus.folder / "table.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(Vox2FaceError, match=words):
        evaluated(corpus, voice="hearing", groups=(option,))


def test_a_column_of_groups_is_named_once(corpus: Invented, deaf: Hearing) -> None:
    groups = (f"{corpus.people}:male", f"{corpus.people}:male")
    with pytest.raises(UsageError, match="a column 'male' is given already: name it once"):
        evaluated(corpus, voice="hearing", groups=groups)


def test_networks_that_do_not_fit_are_refused(
    corpus: Invented, deaf: Hearing, bundle: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = str(vox2face.save("face_decoder.tiny", random_module("face_decoder.tiny", width=9),
                               corpus.folder / "decoder"))  # fmt: skip
    with pytest.raises(UsageError, match="takes 9 values and invented gives 48"):
        evaluated(corpus, voice="hearing", decoder=narrow)

    def classless(self: Colours) -> None:
        raise UsageError("it tells no classes apart")

    monkeypatch.setattr(Colours, "require_classes", classless)
    decoder = str(bundle("face_decoder.cole", onnx=False))
    with pytest.raises(UsageError, match="tells no classes apart"):
        evaluated(corpus, voice="hearing", decoder=decoder, classifier="colours")
    monkeypatch.setattr(deaf, "width", 24)
    with pytest.raises(UsageError, match="gives 24 values and invented 48"):
        evaluated(corpus, voice="hearing")


def test_what_oracles_and_decoded_pictures_need_is_looked_for_first(
    corpus: Invented, deaf: Hearing, bundle: Make
) -> None:
    few = corpus.folder / "few.csv"
    few.write_text("".join(corpus.people.read_text().splitlines(True)[:-1]))
    with pytest.raises(CorpusError, match=r"few\.csv lacks 1 of 8 people, such as P15"):
        evaluated(corpus, voice="hearing", latents=str(few))
    with pytest.raises(CorpusError, match=r"There is no .*nothing\.csv"):
        evaluated(corpus, voice="hearing", latents=str(corpus.folder / "nothing.csv"))
    for row, name in enumerate(corpus.rows["path"]):
        if name.endswith(("-1.png", "-2.png")):
            corpus.values[row] = np.full(WIDTH, np.nan)
    with pytest.raises(
        CorpusError, match=r"two pictures or more are needed.* there are 0: prepare"
    ):
        evaluated(corpus, voice="hearing", decoder=str(bundle("face_decoder.cole", onnx=False)))
    for row, name in enumerate(corpus.rows["identity"]):
        if corpus.rows["split"][row] == "train" and name != "P01":
            corpus.rows["split"][row] = "val"
    with pytest.raises(CorpusError, match="train split has 1 identity to fit a regression to"):
        evaluated(corpus, baseline="hearing")


def test_people_of_one_ancestry_or_hardly_any_gender_are_measured_without_it(
    corpus: Invented, hearing: Hearing
) -> None:
    lines = corpus.people.read_text().splitlines()
    corpus.people.write_text("\n".join([lines[0], *(line[:-1] + "0" for line in lines[1:])]))
    corpus.rows["gender"] = ["m" if name == "P00" else "" for name in corpus.rows["identity"]]
    found = evaluated(corpus, voice="hearing", latents=str(corpus.people)).results
    assert found.latents.ancestry == {} and found.latents.latent_within is None
    assert found.systems[VOICE].within is None
    assert "latent oracle" in report(found) and "Ancestry" not in report(found)


def test_decoded_pictures_are_measured(
    corpus: Invented, hearing: Hearing, bundle: Make, tmp_path: Path
) -> None:
    decoder = str(bundle("face_decoder.cole", onnx=False))
    found = evaluated(corpus, voice="hearing", decoder=decoder, second_face="other")
    pictures = found.results.pictures
    assert [name.rpartition(" (")[0] for name in pictures.recall] == 2 * [
        "speech-to-face",
        "face-to-face",
        "a second real picture",
    ]
    # 0.2 of noise in pictures of people who differ by 1: the ceiling is to find them all
    assert pictures.recall["a second real picture (other)"].recall.at["R@1"].mean == 1
    assert set(pictures.landmarks) == {
        "face-to-face, speech-to-face",
        "face-to-face, real",
        "speech-to-face, real",
    }
    files.write(found, tmp_path / "out")
    with Image.open(tmp_path / "out" / files.SHEET) as page:
        assert "trainedAlgorithmicMedia" in page.info["XML:com.adobe.xmp"]
    assert "Craniofacial correlation" in report(found.results)


def test_networks_of_another_space_than_the_prepared_faces_are_refused(
    corpus: Invented, hearing: Hearing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, spaces = random_module("face_decoder.tiny"), ("vggface.serengil", "vggface.rcmalli")
    good, bad = (
        str(vox2face.save("face_decoder.tiny", module, tmp_path / s, space=Space(s, "deepface")))
        for s in spaces
    )
    evaluated(corpus, voice="hearing", decoder=good)
    with pytest.raises(UsageError, match=r"the prepared .* weights aaaaaaaa, and .*rcmalli"):
        evaluated(corpus, voice="hearing", decoder=bad)
    monkeypatch.setattr(Hearing, "space", Space("vggface.serengil", "speech-to-face"))
    with pytest.raises(UsageError, match=r"hearing gives embeddings of .* speech-to-face"):
        evaluated(corpus, voice="hearing", decoder=good)
    evaluated(corpus, voice="hearing", decoder=bad, any_space=True)


def test_face_to_face_needs_no_voices(corpus: Invented, bundle: Make, tmp_path: Path) -> None:
    for row, kind in enumerate(corpus.rows["kind"]):
        if kind == "voice":
            corpus.rows["split"][row] = "train"
    decoder = str(bundle("face_decoder.cole", onnx=False))
    found = evaluated(corpus, decoder=decoder, face_to_face=True)
    assert len(found.corpus) == PEOPLE // 2
    assert list(found.results.pictures.recall) == [
        "face-to-face (invented)",
        "a second real picture (invented)",
    ]
    files.write(found, tmp_path / "out")
    assert (tmp_path / "out" / files.SHEET).is_file()


def test_the_text_says_what_was_looked_for_in_what(
    corpus: Invented, hearing: Hearing, bundle: Make
) -> None:
    each = evaluated(corpus, voice="hearing")
    assert "query: each clip, its recall averaged over a person's clips;" in report(each.results)
    assert "gallery: the mean embedding over all pictures of a person;" in report(each.results)
    fused = evaluated(corpus, voice="hearing", fuse=True)
    assert "query: one for each person, the mean of all clips' unit" in report(fused.results)
    assert fused.main is not None and len(fused.main.queries) == len(fused.corpus)
    decoder = str(bundle("face_decoder.cole", onnx=False))
    drawn = evaluated(corpus, decoder=decoder, face_to_face=True, classifier="colours").results
    text = report(drawn)
    assert "(8 of 8 with a face)" in text and "query: each person's first picture, decoded" in text
    assert "without the decoded one" in text and "clip" not in text
    assert list(drawn.weights) == ["decoder", "face invented", "classifier"]


def test_a_classifier_gives_the_vggface_score_of_ten_pictures_or_more(
    tmp_path: Path, wav: Callable[..., Path], hearing: Hearing, bundle: Make
) -> None:
    decoder = str(bundle("face_decoder.cole", onnx=False))
    for people, scored in ((22, {"face-to-face"}), (16, set())):
        corpus = Invented(tmp_path, wav, people)
        found = evaluated(corpus, decoder=decoder, face_to_face=True, classifier="colours")
        scores = found.results.pictures.vggface_score
        assert set(scores) == scored
        assert all(1 <= score.mean <= 3 for score in scores.values())
        assert ("VGGFace score (vggface.serengil)" in report(found.results)) == bool(scored)


def test_the_vggface_score_of_pictures_is_that_of_their_probabilities() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(255, size=(12, 4, 4, 3), dtype=np.uint8)
    drawn = decoded_faces.Drawn(pixels, np.zeros((12, 68, 2), np.float32), np.arange(12))
    got = decoded_faces.probabilities(colours, drawn)  # type: ignore[arg-type]
    scores = colours.logits(pixels).astype(float)
    want = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(got, want)


def test_tables_are_aligned() -> None:
    assert (
        table(["", "x"], [["long name", "1"], ["b", "22"]])
        == "            x\nlong name   1\nb          22"
    )


def test_speech_is_what_the_sheet_shows() -> None:
    from vox2face.train.figures.retrieval_sheet import SheetRow, sheet
    from vox2face.train.figures.tiles import spectrogram

    tile = Image.new("RGB", (144, 144), "red")
    rows = [SheetRow("A" * 80, tile, spectrogram(speech()), [("Łukasz", tile, True)], 1, 10)]
    page = sheet(rows, "title " * 99, "note", "its voice")
    assert page.getpixel((14 + 144 + 12, 66 + 80)) != (255, 255, 255)


class Stage:
    """An array of a stage of a prepared corpus."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def all(self) -> tuple[np.ndarray, np.ndarray]:
        rows = np.flatnonzero(np.isfinite(self.values.reshape(len(self.values), -1)).all(1))
        return rows, self.values[rows]


class Folder:
    """A prepared corpus, as `open_prepared` gives it."""

    def __init__(self, corpus: Invented) -> None:
        self.manifest, self.encoders = corpus.manifest, ["invented"]
        self.facts = {"stages": {"landmarks": {}, "embeddings/invented": {}}}
        self.landmarks = Stage(corpus.landmarks())
        self.picture, self.encoder, self.corpus = corpus.picture, corpus.encoder, corpus

    def space(self, name: str | None = None) -> Space:
        return self.corpus.space("")

    def faces(self, name: str | None = None) -> Stage:
        if name not in (None, "invented"):
            raise UsageError(f"There are no embeddings of {name}.")
        return Stage(self.corpus.faces(""))


@pytest.fixture
def command(
    corpus: Invented, hearing: Hearing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Return a function that runs the command on the invented corpus."""
    folder, place = Folder(corpus), tmp_path / "manifest.parquet"
    manifest.write(corpus.manifest, place)
    monkeypatch.setattr(reader, "open_prepared", lambda place: folder)

    def run(*arguments: str) -> Result:
        always = [str(place), "--prepared", "prepared", "--voice", "hearing"]
        return CliRunner().invoke(cli.command, [*always, *arguments])

    return run


def test_the_command_prints_the_tables_and_writes_the_files(
    command: Callable[..., Result], corpus: Invented, tmp_path: Path
) -> None:
    groups = f"{corpus.people}:ancestry"
    done = command("--pool", "4", "--groups", groups, "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.exception
    assert "pool of 2 x 4 people (8 of 8 with voice and face)" in done.output
    assert "invented" in done.output and "results.json, results.txt, sheet.png" in done.output
    text = (tmp_path / "out" / files.TABLE).read_text()
    assert done.output.startswith(text)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--pool", "x"), "give a number of people"),
        (("--pool", 5000 * "9"), "give a number of people"),
        (("--pool", "100"), "too few for a pool of 100"),
        (("--max-failures", "nan"), "give a part of the clips"),
        (("--face", "other"), "no embeddings of other"),
        (("--pool", "all", "--pools", "2"), "is one pool"),
        (("--pool", "all", "--split", "val"), "no rows of the split 'val'"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_a_sentence(
    command: Callable[..., Result], arguments: tuple[str, ...], words: str
) -> None:
    done = command(*arguments)
    known = isinstance(done.exception, Vox2FaceError)
    assert words in (str(done.exception) if known else done.output)
    assert known or done.exit_code == 2


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_heard(
    command: Callable[..., Result], deaf: Hearing, tmp_path: Path
) -> None:
    (tmp_path / "folders" / "results.json").mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for out, words in {
        "file/below": "Nothing can be written into --out .*below .Not a directory.",
        "dangling": "Nothing can be written into --out",
        300 * "n": "has a longer name than the file system takes",
        "folders": "folders holds results.json, which is not of an evaluation",
    }.items():
        with pytest.raises(UsageError, match=words):
            raise command("--pool", "all", "--out", str(tmp_path / out)).exception or AssertionError
    command("--pool", "all", "--groups", "no column", "--out", str(tmp_path / "new" / "one"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "name", ["results.txt", "sheet.png", "voices", "voices/a.wav", "run.json", "train/last.pt"]
)
def test_files_of_somebody_else_are_left_alone(
    command: Callable[..., Result], deaf: Hearing, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")
    with pytest.raises(UsageError, match="which is not of an evaluation: choose an empty folder"):
        raise command("--pool", "4", "--out", str(out)).exception or AssertionError
    assert [p.read_text() for p in out.rglob("*") if p.is_file()] == ["mine"]


def test_results_are_written_anew_by_the_same_evaluation_only(
    command: Callable[..., Result], corpus: Invented, tmp_path: Path
) -> None:
    always = "--pool", "4", "--out", str(tmp_path / "out")

    def files() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir() if p.is_file()}

    assert command(*always).exit_code == 0
    before = files()
    assert command(*always).exit_code == 0 and files() == before
    for more, word in {
        ("--seed", "1"): "--seed",
        ("--pools", "1"): "--pools",
        ("--fuse",): "--fuse",
        ("--groups", f"{corpus.people}:ancestry"): "--groups",
    }.items():
        with pytest.raises(UsageError, match=f"of another evaluation, of another {word}"):
            raise command(*always, *more).exception or AssertionError
    (tmp_path / "out" / "results.json").write_text("{}")
    with pytest.raises(UsageError, match="is not of this version's evaluations"):
        raise command(*always).exception or AssertionError
    assert files() == {**before, "results.json": b"{}"}


def test_a_folder_prepared_of_another_manifest_is_refused(
    corpus: Invented, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "open_prepared", lambda place: Folder(corpus))
    other = manifest.from_columns({name: words[1:] for name, words in corpus.rows.items()})
    with pytest.raises(CorpusError, match="prepared of another manifest"):
        PreparedArrays("prepared", other)
    arrays = PreparedArrays("prepared", corpus.manifest)
    np.testing.assert_array_equal(arrays.faces("invented"), corpus.faces(""))
