"""Items are a function of arguments, epoch and number; bad files are named or replaced."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import tracemalloc
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import vox2face.train as package
from vox2face.core.errors import CorpusError, UsageError
from vox2face.media import audio
from vox2face.train import storage
from vox2face.train.corpus import manifest
from vox2face.train.corpus.groups import people
from vox2face.train.corpus.manifest import Manifest, rows_of
from vox2face.train.datasets import voice
from vox2face.train.datasets.face import FaceDecoderDataset
from vox2face.train.datasets.voice import VoiceEncoderDataset, samples_of
from vox2face.train.media import normalize_level
from vox2face.train.prepare import shards
from vox2face.train.prepare.reader import Prepared, open_prepared
from vox2face.zoo.frontends.voice import VoiceInput
from vox2face.zoo.presets import VOICE_PRESETS, voice_preset

NAMES = ["Abe", "Bob", "Zoë", "Face only", "Voice only"]
CLIPS, PICTURES = [3, 1, 2, 0, 2], [2, 1, 4, 1, 0]  # of each
WIDTH = 5
BAD = "2-1.png"  # of Zoë's pictures, this one could not be embedded


def clip(path: str) -> np.ndarray:
    """Return the samples of a clip, 0.3 to 0.5 s: each path has its own."""
    random = np.random.default_rng(list(path.encode()))
    return np.round(random.uniform(-9000, 9000, random.integers(4800, 8000)))


def picture(row: int) -> np.ndarray:
    return np.full((224, 224, 3), (row, 2 * row, 3 * row), np.uint8)


def embedding(row: int) -> np.ndarray:
    return np.random.default_rng(row).standard_normal(WIDTH).astype(np.float32)


def wav(pcm: np.ndarray) -> bytes:
    """Return samples as a 16-bit wav file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(audio.RATE)
        out.writeframes(pcm.astype("<i2").tobytes())
    return file.getvalue()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """A manifest whose rows are in no order, and its clips on disk."""
    root = tmp_path_factory.mktemp("corpus")
    found: list[tuple[str, str, str]] = []
    for number, (name, clips, pictures) in enumerate(zip(NAMES, CLIPS, PICTURES, strict=True)):
        found += [(name, "voice", f"{number}-{n}.wav") for n in range(clips)]
        found += [(name, "face", f"{number}-{n}.png") for n in range(pictures)]
    for _, kind, path in found:
        if kind == "voice":
            (root / path).write_bytes(wav(clip(path)))
    found = [found[i] for i in np.random.default_rng(1).permutation(len(found))]
    identity, kinds, paths = (list(column) for column in zip(*found, strict=True))
    rows = {"identity": identity, "kind": kinds, "path": paths}
    same = {"split": ["train"] * len(found), "root": [str(root)] * len(found)}
    return manifest.from_columns({**rows, **same})


@pytest.fixture(scope="module")
def prepared(corpus: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A prepared folder as `vox2face data prepare` lays it out, in shards of three rows."""
    folder = str(tmp_path_factory.mktemp("prepared"))
    manifest.write(corpus, storage.join(folder, manifest.FILE))
    faces, voices = (rows_of(corpus, kind) for kind in ("face", "voice"))
    line = f"{corpus.column('path').index(BAD)},embeddings/net,{BAD},damaged"
    storage.write_bytes(f"{folder}/failures.csv", f"row,stages,path,reason\n{line}\n".encode())
    values = {
        "embeddings/net": np.array([embedding(row) for row in faces]),
        "landmarks": np.array([np.full((68, 2), row, np.float32) for row in faces]),
        "textures": np.array([picture(row + 20) for row in faces]),
        "pictures": np.array([picture(row) for row in faces]),
    }
    for first in range(0, len(faces), 3):
        for stage, array in values.items():
            place = f"{folder}/{stage}/{shards.file_name(first // 3)}"
            shards.write(place, {stage.partition("/")[0]: array[first : first + 3]}, {})
    for first in range(0, len(voices), 3):
        part = [clip(corpus.column("path")[row]).astype(np.int16) for row in voices][first:][:3]
        starts = np.cumsum([0, *(len(pcm) for pcm in part[:-1])]).astype(np.int64)
        arrays = {"samples": np.concatenate(part), "starts": starts}
        shards.write(f"{folder}/audio/{shards.file_name(first // 3)}", arrays, {})
    stages = {name: {"kind": "face", "shard_rows": 3, "failing": [name]} for name in values}
    stages["audio"] = {"kind": "voice", "shard_rows": 3, "failing": ["audio"]}
    facts = {"version": 1, "crop": False, "stages": stages}
    storage.write_bytes(f"{folder}/prepared.json", json.dumps(facts).encode())
    return open_prepared(folder)


def test_a_part_of_the_clips_is_heard_as_encoded_copies(
    corpus: Manifest, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = {"": 0.0, "mp3": 0.25, "8k": -0.25}
    monkeypatch.setattr(Prepared, "encodings", ["mp3", "8k"])
    monkeypatch.setattr(
        Prepared,
        "waveform",
        lambda self, row, encoding="": np.full(20_000, marked[encoding], np.float32),
    )
    more: dict[str, Any] = {"preset": None, "seconds": 0.5, "seed": 3}
    monkeypatch.setattr(voice, "normalize_level", lambda waveform, preset: waveform)
    data = VoiceEncoderDataset(corpus, prepared, encoded=0.5, **more)
    heard = np.empty((40, len(data)))
    for epoch in range(40):
        data.set_epoch(epoch)
        heard[epoch] = [float(data[i]["waveform"][0]) for i in range(len(data))]
    shares = [float((heard == value).mean()) for value in marked.values()]
    np.testing.assert_allclose(shares, [0.5, 0.25, 0.25], atol=0.08)
    data.set_epoch(7)
    assert [float(data[i]["waveform"][0]) for i in range(len(data))] == heard[7].tolist()
    never = VoiceEncoderDataset(corpus, prepared, **more)
    assert not any(float(never[i]["waveform"][0]) for i in range(len(never)))


def test_encoded_copies_that_are_not_there_are_asked_for(
    corpus: Manifest, prepared: Prepared
) -> None:
    with pytest.raises(UsageError, match=r"has no encoded copies .* --encode mp3,aac,8k, or set"):
        VoiceEncoderDataset(corpus, prepared, encoded=0.5)
    with pytest.raises(UsageError, match=r"encoded=1\.5 is a part of the clips"):
        VoiceEncoderDataset(corpus, prepared, encoded=1.5)


def with_damage(corpus: Manifest, tmp_path: Path, *damaged: str) -> Manifest:
    """Return a copy of the corpus in which some clips are no recordings."""
    columns = {name: corpus.column(name) for name in manifest.COLUMNS}
    for path in columns["path"]:
        if path.endswith(".wav"):
            text = b"no sound" if path in damaged else wav(clip(path))
            (tmp_path / path).write_bytes(text)
    return manifest.from_columns({**columns, "root": [str(tmp_path)] * len(corpus)})


def paths(corpus: Manifest, data: Any, name: str = "clip") -> list[str]:
    return [corpus.column("path")[int(data[i][name])] for i in range(len(data))]


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_items_have_the_shapes_that_are_documented(corpus: Manifest, prepared: Prepared) -> None:
    item = VoiceEncoderDataset(corpus, prepared)[0]
    found = {name: (value.dtype, tuple(value.shape)) for name, value in item.items()}
    number = (torch.int64, ())
    assert found == {
        "waveform": (torch.float32, (96000,)),
        "embedding": (torch.float32, (WIDTH,)),
        "identity": number,
        "clip": number,
        "picture": number,
    }
    item = FaceDecoderDataset(corpus, prepared)[0]
    found = {name: (value.dtype, tuple(value.shape)) for name, value in item.items()}
    assert found == {
        "embedding": (torch.float32, (WIDTH,)),
        "wanted": (torch.float32, (WIDTH,)),
        "landmarks": (torch.float32, (68, 2)),
        "texture": (torch.uint8, (3, 224, 224)),
        "picture": (torch.uint8, (3, 224, 224)),
        "identity": number,
        "row": number,
    }
    without = FaceDecoderDataset(corpus, prepared, pictures=False)[0]
    assert item.keys() - without.keys() == {"picture"}
    assert all(torch.equal(without[name], item[name]) for name in without)
    without = FaceDecoderDataset(corpus, prepared, textures=False)[0]
    assert item.keys() - without.keys() == {"texture"}


def test_clips_come_by_name_and_path_with_pictures_of_their_speaker(
    corpus: Manifest, prepared: Prepared
) -> None:
    data = VoiceEncoderDataset(corpus, prepared, pairing="one-to-one", seconds=0.2)
    assert data.identities == ["Abe", "Bob", "Zoë"]  # the others lack clips or pictures
    assert paths(corpus, data) == [f"{p}.wav" for p in ("0-0", "0-1", "0-2", "1-0", "2-0", "2-1")]
    # the bad picture is left out
    want = [f"{p}.png" for p in ("0-0", "0-1", "0-0", "1-0", "2-0", "2-2")]
    assert paths(corpus, data, "picture") == want
    assert [int(data[i]["identity"]) for i in range(6)] == [0, 0, 0, 1, 2, 2]
    for item in data:
        assert item["embedding"].numpy() == pytest.approx(embedding(int(item["picture"])))


def test_the_order_of_the_manifest_changes_nothing_but_row_numbers(corpus: Manifest) -> None:
    turned = Manifest(corpus.table.take(np.arange(len(corpus))[::-1].copy()))
    a, b = (VoiceEncoderDataset(m, seconds=0.2, crop="random") for m in (corpus, turned))
    assert paths(corpus, a) == paths(turned, b)
    assert paths(corpus, a, "picture") == paths(turned, b, "picture")
    assert all(torch.equal(a[i]["waveform"], b[i]["waveform"]) for i in range(len(a)))


def test_all_to_one_gives_the_mean_or_the_first_picture(
    corpus: Manifest, prepared: Prepared
) -> None:
    mean = VoiceEncoderDataset(corpus, prepared, pairing="all-to-one")[5]
    rows = [corpus.column("path").index(f"2-{n}.png") for n in (0, 2, 3)]
    want = np.mean([embedding(row) for row in rows], 0)
    assert mean["embedding"].numpy() == pytest.approx(want, abs=1e-6)
    assert mean["picture"] == -1
    first = VoiceEncoderDataset(corpus, prepared, pairing="all-to-one", one="first")[5]
    assert first["picture"] == rows[0]
    assert first["embedding"].numpy() == pytest.approx(embedding(rows[0]))


def test_all_to_all_pairs_every_clip_with_every_picture(
    corpus: Manifest, prepared: Prepared
) -> None:
    data = VoiceEncoderDataset(corpus, prepared, pairing="all-to-all", seconds=0.1)
    pairs = {(int(item["clip"]), int(item["picture"])) for item in data}
    assert len(data) == len(pairs) == 3 * 2 + 1 * 1 + 2 * 3


def test_epochs_draw_other_pictures_and_other_pieces(corpus: Manifest, prepared: Prepared) -> None:
    def epoch(number: int, seed: int = 0) -> list[dict[str, Any]]:
        data = VoiceEncoderDataset(corpus, prepared, seconds=0.1, crop="random", seed=seed)
        data.set_epoch(number)
        return list(data)

    assert all(map(equal, epoch(3), epoch(3)))
    first = epoch(0)
    assert any(int(a["picture"]) != int(b["picture"]) for a, b in zip(first, epoch(1), strict=True))
    for other in (epoch(1), epoch(0, seed=1)):
        same = [
            torch.equal(a["waveform"], b["waveform"]) for a, b in zip(first, other, strict=True)
        ]
        assert not any(same)


def test_clips_are_levelled_whole_and_then_cut_or_repeated(corpus: Manifest) -> None:
    whole = audio.level((clip("0-0.wav") / 32768).astype(np.float32))
    room = whole.size - 1600
    cuts = {"start": 0, "center": room // 2}
    for crop, first in cuts.items():
        item = VoiceEncoderDataset(corpus, seconds=0.1, crop=crop)[0]
        assert torch.equal(item["waveform"], torch.from_numpy(whole[first : first + 1600]))
    piece = VoiceEncoderDataset(corpus, seconds=0.1, crop="random")[0]["waveform"].numpy()
    assert any(np.array_equal(piece, whole[i : i + 1600]) for i in range(room + 1))
    long = VoiceEncoderDataset(corpus, seconds=1.0, crop="random")[0]["waveform"]
    assert torch.equal(long, torch.from_numpy(np.resize(whole, 16000)))


def test_prepared_sound_equals_decoded_sound(corpus: Manifest, prepared: Prepared) -> None:
    decoded, ready = VoiceEncoderDataset(corpus), VoiceEncoderDataset(corpus, prepared)
    assert prepared.has_waveforms
    assert all(torch.equal(decoded[i]["waveform"], ready[i]["waveform"]) for i in range(6))
    assert "embedding" not in decoded[0]


@pytest.mark.parametrize("name", VOICE_PRESETS)
def test_levels_are_those_of_the_preset(name: str) -> None:
    preset = voice_preset(name)
    for loudness in (0.001, 0.5):
        waveform = (clip("x") / 32768 * loudness).astype(np.float32)
        want = VoiceInput(preset).levelled(torch.from_numpy(waveform)[None])[0].numpy()
        assert normalize_level(waveform, preset) == pytest.approx(want, rel=1e-5, abs=1e-9)


def test_pictures_come_with_what_was_prepared_of_them(corpus: Manifest, prepared: Prepared) -> None:
    data = FaceDecoderDataset(corpus, prepared)
    assert data.identities == ["Abe", "Bob", "Face only", "Zoë"]
    assert len(data) == 2 + 1 + 1 + 3
    assert BAD not in paths(corpus, data, "row")
    for item in data:
        row = int(item["row"])
        assert item["embedding"].numpy() == pytest.approx(embedding(row))
        assert (item["landmarks"] == row).all()
        assert item["picture"][:, 0, 0].tolist() == [row, 2 * row, 3 * row]
        assert item["texture"][:, 9, 9].tolist() == [row + 20, 2 * row + 40, 3 * row + 60]
    with pytest.raises(IndexError):
        data[len(data)]
    assert equal(data[-1], data[len(data) - 1])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_left_out_and_counted(
    corpus: Manifest, prepared: Prepared, tmp_path: Path, value: float
) -> None:
    folder = str(shutil.copytree(prepared.folder, tmp_path / "prepared"))
    storage.write_bytes(f"{folder}/failures.csv", b"row,stages,path,reason\n")
    faces = rows_of(corpus, "face").tolist()
    broken = {"embeddings/net": "1-0.png", "landmarks": "2-3.png"}
    for stage, path in broken.items():
        number, place = divmod(faces.index(corpus.column("path").index(path)), 3)
        shard = f"{folder}/{stage}/{shards.file_name(number)}"
        name = stage.partition("/")[0]
        values = np.array(shards.read(shard).array(name))
        values[place].flat[-1] = value
        shards.write(shard, {name: values}, {})
    again = open_prepared(folder)
    voices = VoiceEncoderDataset(corpus, again, pairing="all-to-all")
    assert voices.identities == ["Abe", "Zoë"] and voices.left_out == 1
    pictures = FaceDecoderDataset(corpus, again)
    seen = paths(corpus, pictures, "row")
    assert len(seen) == sum(PICTURES) - 2 == len({*seen} - {*broken.values()})
    assert pictures.left_out == 2 and FaceDecoderDataset(corpus, again, None).left_out == 2
    with pytest.raises(CorpusError, match="has no embeddings: its values are not finite"):
        again.embeddings[corpus.column("path").index("1-0.png")]
    assert len(again.embeddings.all()[0]) == sum(PICTURES) - 1


def test_a_damaged_clip_is_named(corpus: Manifest, tmp_path: Path) -> None:
    data = VoiceEncoderDataset(with_damage(corpus, tmp_path, "0-1.wav"), seconds=0.2)
    assert data[0]["clip"] != data[2]["clip"]
    with pytest.raises(CorpusError, match=r"0-1\.wav cannot be used: .*no recording"):
        data[1]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_give_the_same_items(method: str, corpus: Manifest) -> None:
    data = VoiceEncoderDataset(corpus, seconds=0.2, crop="random")
    data.set_epoch(2)
    loader = DataLoader(data, batch_size=3, num_workers=1, multiprocessing_context=method)
    batches = list(loader)
    alone = [data[i] for i in range(6)]
    for name in ("waveform", "clip", "picture", "identity"):
        both = torch.cat([batch[name] for batch in batches])
        assert torch.equal(both, torch.stack([item[name] for item in alone]))


def test_data_sets_can_be_copied_to_other_processes(corpus: Manifest, prepared: Prepared) -> None:
    for data in (VoiceEncoderDataset(corpus, prepared), FaceDecoderDataset(corpus, prepared)):
        want = data[0]  # with shards open
        text = pickle.dumps(data)
        assert equal(pickle.loads(text)[0], want)
        assert len(text) < 60_000  # no arrays inside


def test_prepared_folders_of_other_manifests_are_refused(
    corpus: Manifest, prepared: Prepared
) -> None:
    other = Manifest(corpus.table.slice(1))
    with pytest.raises(CorpusError, match=r"prepared of another manifest \(16 rows, given are 16"):
        VoiceEncoderDataset(Manifest(corpus.table.take(list(range(16))[::-1])), prepared)
    with pytest.raises(CorpusError, match=r"another manifest \(16 rows, given are 15\)"):
        FaceDecoderDataset(other, prepared)


def test_new_splits_need_no_new_preparation(corpus: Manifest, prepared: Prepared) -> None:
    columns = {name: corpus.column(name) for name in manifest.COLUMNS}
    columns["split"] = ["test" if name == "Abe" else None for name in columns["identity"]]
    again = manifest.from_columns(columns)
    assert VoiceEncoderDataset(again, prepared, "test").identities == ["Abe"]
    assert VoiceEncoderDataset(again, prepared, None).identities == ["Abe", "Bob", "Zoë"]
    with pytest.raises(CorpusError, match=r"no rows of the split 'val'; there are: test\."):
        VoiceEncoderDataset(again, prepared, "val")


def test_a_corpus_without_overlap_is_told(corpus: Manifest) -> None:
    with pytest.raises(CorpusError, match="Nobody of the split 'train' has both a usable clip"):
        VoiceEncoderDataset(corpus.where(kind="voice"))
    with pytest.raises(CorpusError, match="has no rows of the split 'train'; there are: none"):
        VoiceEncoderDataset(manifest.from_columns({"identity": []}))


Make = Callable[[Manifest], VoiceEncoderDataset]
WRONG: dict[str, tuple[Make, str]] = {
    "crop": (lambda m: VoiceEncoderDataset(m, crop="middle"), "no crop='middle': use one of start"),
    "one": (lambda m: VoiceEncoderDataset(m, one="last"), "no one='last'"),
    "pairing": (lambda m: VoiceEncoderDataset(m, pairing="x"), "no pairing 'x'"),
    "preset": (lambda m: VoiceEncoderDataset(m, preset="x"), "no voice preset 'x'"),
    "length": (lambda m: VoiceEncoderDataset(m, preset="resemblyzer"), "give seconds="),
    "short": (lambda m: VoiceEncoderDataset(m, seconds=0.01), "seconds=0.01 is too short"),
}


@pytest.mark.parametrize("make, message", WRONG.values(), ids=WRONG)
def test_arguments_that_cannot_be_meant_are_told(
    make: Make, message: str, corpus: Manifest
) -> None:
    with pytest.raises(UsageError, match=message):
        make(corpus)


def test_lengths_are_those_of_the_preset_or_of_the_seconds() -> None:
    assert samples_of(voice_preset("ve-conv"), None) == 96000
    assert samples_of(voice_preset("ve-conv"), 1.5) == 24000
    assert samples_of(None, 2) == 32000


def test_clips_of_an_object_store_are_read() -> None:
    root = "memory://dataset"
    storage.write_bytes(f"{root}/a.wav", wav(clip("a")))
    rows = {"identity": ["A", "A"], "kind": ["voice", "face"], "path": ["a.wav", "a.png"]}
    data = VoiceEncoderDataset(manifest.from_columns({**rows, "root": [root] * 2}), split=None)
    want = np.resize(audio.level((clip("a") / 32768).astype(np.float32)), 96000)
    assert torch.equal(data[0]["waveform"], torch.from_numpy(want))


def test_the_people_of_a_million_rows_are_found_in_little_memory() -> None:
    import pyarrow as pa

    count, persons = 1_000_000, 1000
    numbers = np.arange(count)
    words = pa.array([f"Person {i:04}" for i in range(persons)])
    name = pa.DictionaryArray.from_arrays((numbers % persons).astype(np.int32), words)
    kind = pa.DictionaryArray.from_arrays((numbers // persons % 5 == 0).astype(np.int32), KINDS)
    path = pa.array(numbers.astype(str).tolist())
    big = manifest.from_columns({"identity": name, "kind": kind, "path": path, "root": name})
    tracemalloc.start()
    data = VoiceEncoderDataset(big, split=None, pairing="all-to-all")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data) == persons * 800 * 200  # 160 million
    assert peak < 250_000_000
    pair = data.pairs.at(len(data) - 1)
    clip_row, picture_row = data.pairs.groups.clips[pair.clip], data.pairs.groups.pictures[-1]
    assert clip_row % persons == picture_row % persons == persons - 1


KINDS = ["voice", "face"]


def test_rows_are_sorted_by_path_and_then_by_root() -> None:
    rows = {
        "identity": ["A"] * 4,
        "kind": ["face"] * 4,
        "path": ["b", "a", "b", "a"],
        "root": ["y", "y", "x", "x"],
    }
    names, groups = people(manifest.from_columns(rows), None, (2,), voices=False)
    assert names == ["A"] and groups.pictures.tolist() == [3, 1, 0]


def test_importing_the_package_imports_no_torch(python: Callable[..., str]) -> None:
    script = "import sys, vox2face.train; print('torch' in sys.modules, dir(vox2face.train))"
    said = python(script)
    assert said.startswith("False") and "VoiceEncoderDataset" in said


def test_the_package_names_its_data_sets() -> None:
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    assert set(package.__all__) <= set(dir(package))
