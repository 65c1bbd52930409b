"""Preparing a corpus: what is made, that it never depends on chance, and what bad files do."""

from __future__ import annotations

import csv
import errno
import json
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from helpers.prepare_corpus import contents, corpus
from PIL import Image

from vox2face.core.errors import CorpusError, UsageError, Vox2FaceError
from vox2face.media import audio, codecs, image
from vox2face.runtime import face_detection
from vox2face.runtime.load import load
from vox2face.train import storage
from vox2face.train.corpus import manifest
from vox2face.train.prepare import engines, face_stages, shards, voice_stages
from vox2face.train.prepare.options import FACE, Options, allowed_failures
from vox2face.train.prepare.reader import Prepared, open_prepared
from vox2face.train.prepare.run import prepare
from vox2face.train.prepare.shard_task import ShardJob, ShardResult, difference
from vox2face.train.prepare.stages import CODED, STAGES
from vox2face.zoo.frontends.voice import voice_frontend
from vox2face.zoo.presets import FACE_PRESETS, voice_preset

ALL = tuple(name for name in STAGES if name != CODED)
ONE = Options(stages=ALL, jobs=1, shard_rows=2, encode=("mp3", "8k"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a corpus (people/) prepared by one process (one/); networks are kept there."""
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOX2FACE_HOME", str(folder / "home"))
        prepare(corpus(folder / "people"), folder / "one", ONE)
        yield folder


@pytest.fixture(autouse=True)
def converted(shared: Path, isolated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all tests share converted networks."""
    monkeypatch.setenv("VOX2FACE_HOME", str(shared / "home"))


@pytest.fixture
def ready(shared: Path) -> Prepared:
    return open_prepared(shared / "one")


def people(folder: Path, broken: dict[int, Callable[[Path], Any]], **more: Any) -> Path:
    """Write a corpus and break some of its files, by row of the manifest."""
    place = corpus(folder, **more)
    files = manifest.read(place).files()
    for row, ruin in broken.items():
        ruin(Path(files[row]))
    return place


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def faceless(path: Path) -> None:
    Image.new("RGB", (64, 64), "teal").save(path)


def failures(folder: Path) -> list[dict[str, str]]:
    with (folder / "failures.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_embeddings_are_those_of_the_encoder(ready: Prepared) -> None:
    files = ready.manifest.files()
    rows, embeddings = ready.embeddings.all()
    assert rows.tolist() == [0, 2, 4, 6, 8, 10] and embeddings.dtype == np.float32
    want = load(FACE)([files[row] for row in rows])
    np.testing.assert_allclose(embeddings, want, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(ready.embeddings[4], embeddings[2])


@pytest.mark.parametrize("preset", FACE_PRESETS)
@pytest.mark.parametrize("size", [(224, 224), (100, 333), (457, 200), (150, 150)], ids=str)
def test_faces_are_preprocessed_as_the_encoder_does_it(preset: str, size: tuple[int, int]) -> None:
    encoder = load(FACE, preset=preset)
    noise = np.random.default_rng(size[0]).integers(0, 256, (*size, 3)).astype(np.uint8)
    found = face_stages.preprocessed(encoder, noise)
    np.testing.assert_array_equal(found.numpy(), encoder.preprocess([noise]).numpy())


def test_landmarks_are_those_that_find_finds(ready: Prepared) -> None:
    want = face_detection.find(ready.manifest.files()[0])[0].landmarks
    np.testing.assert_allclose(ready.landmarks[0], want, rtol=0, atol=1)
    np.testing.assert_allclose(ready.landmarks_of(0), want, rtol=0, atol=1)
    assert ready.landmarks_of(1) is None  # a recording


def test_mean_landmarks_are_those_of_the_train_split(ready: Prepared) -> None:
    splits = ready.manifest.column("split")
    rows, points = ready.landmarks.all()
    train = [split == "train" for split in (splits[row] for row in rows)]
    assert sum(train) == 4
    np.testing.assert_allclose(ready.mean_landmarks, points[train].mean(0), rtol=0, atol=1e-4)


def test_textures_have_their_landmarks_at_the_mean(ready: Prepared) -> None:
    texture = ready.textures[2]
    assert texture.shape == (224, 224, 3) and texture.dtype == np.uint8
    before = np.abs(ready.landmarks[2] - ready.mean_landmarks).mean()
    after = np.abs(face_detection.find(texture)[0].landmarks - ready.mean_landmarks).mean()
    assert after < 4 < before


def test_pictures_are_the_files_pictures(ready: Prepared) -> None:
    np.testing.assert_array_equal(ready.picture(0), image.decode(ready.file(0)))


def test_waveforms_are_what_decode_returns(ready: Prepared) -> None:
    for row in (1, 3, 11):
        np.testing.assert_array_equal(ready.waveform(row), audio.decode(ready.file(row)))
    assert float(ready.durations[3]) == 20001 / audio.RATE


def energies(path: str, seconds: float) -> np.ndarray:
    """The real frames of the filter bank of a levelled clip, by the module the network has."""
    preset = unscaled()
    waveform = audio.read(path, decibels=-23.0)[: int(seconds * audio.RATE)]
    frames = voice_frontend(preset)(torch.from_numpy(waveform)[None])[0].numpy()
    return frames[: (waveform.size - 400) // 160 + 1].astype(np.float64)


def unscaled() -> Any:
    """The preset's filter bank without its normalisation."""
    return replace(voice_preset("ast-speech-to-face"), mean=0.0, std=0.5)


def test_encoded_copies_are_what_the_codec_leaves_of_each_clip(ready: Prepared) -> None:
    assert ready.encodings == ["mp3", "8k"] and ready.encoders == [FACE]
    for row in (1, 3, 11):
        clip = ready.waveform(row)
        for name in ready.encodings:
            copy = ready.waveform(row, name)
            want = codecs.encoded(audio.to_pcm(clip), codecs.CODECS[name])
            np.testing.assert_array_equal(copy, want.astype(np.float32) / audio.FULL_SCALE)
    with pytest.raises(CorpusError, match=r"no copies encoded as aac: run .* --encode aac"):
        ready.waveform(1, "aac")


@pytest.mark.parametrize("name", codecs.CODECS)
def test_a_codec_keeps_the_place_of_the_voice_and_loses_its_top(name: str) -> None:
    pcm = audio.to_pcm(audio.speech())
    copy = codecs.encoded(pcm, codecs.CODECS[name])
    assert copy.shape == pcm.shape and copy.dtype == np.int16
    a, b = (x.astype(np.float64) for x in (pcm, copy))
    near = {lag: float(np.roll(b, lag) @ a) for lag in range(-20, 21)}
    assert max(near, key=near.__getitem__) == 0
    assert 0.8 < near[0] / np.sqrt((a @ a) * (b @ b)) < 0.999
    lost = [np.abs(np.fft.rfft(x)[-4000:]).sum() for x in (a, b)]  # above 7.3 kHz
    assert lost[1] < 0.8 * lost[0]


def test_copies_may_be_added_later(shared: Path, tmp_path: Path) -> None:
    few = {"stages": ("audio",), "jobs": 1, "shard_rows": 2}
    prepare(shared / "people", tmp_path / "out", Options(**few))
    prepare(shared / "people", tmp_path / "out", Options(**few, encode=("8k",)))
    prepare(shared / "people", tmp_path / "out", Options(**few, encode=("mp3",)))
    found = open_prepared(tmp_path / "out")
    assert sorted(found.encodings) == ["8k", "mp3"]
    prepared = open_prepared(shared / "one")
    np.testing.assert_array_equal(found.waveform(3, "8k"), prepared.waveform(3, "8k"))


def test_a_missing_encoder_is_told_at_once(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(codecs.CODECS, "mp3", codecs.Codec("nothing", "mp3", 16_000, 24_000))
    with pytest.raises(UsageError, match="PyAV has no encoder nothing for --encode mp3: install"):
        prepare(shared / "people", tmp_path / "out", Options(stages=("audio",), encode=("mp3",)))
    assert not (tmp_path / "out").exists()


def test_statistics_are_those_of_all_real_frames(ready: Prepared) -> None:
    table = ready.manifest.where(kind="voice", split="train")
    values = np.concatenate([energies(path, 10.26) for path in table.files()])
    assert ready.statistics["frames"] == len(values)
    np.testing.assert_allclose(ready.statistics["mean"], values.mean(), rtol=1e-5)
    np.testing.assert_allclose(ready.statistics["std"], values.std(), rtol=1e-5)
    hours = sum(audio.decode(path).size for path in table.files()) / audio.RATE / 3600
    np.testing.assert_allclose(ready.statistics["hours"], hours, rtol=1e-12)


def test_statistics_of_speech_to_face_count_frames_of_zeros(shared: Path, tmp_path: Path) -> None:
    options = Options(stages=("voices",), jobs=1, statistics="speech-to-face")
    prepare(shared / "people", tmp_path / "out", options)
    frontend, each = voice_frontend(unscaled()), []
    for path in manifest.read(shared / "people").where(kind="voice", split="train").files():
        waveform = audio.read(path, samples=6 * audio.RATE)
        clip = frontend(torch.from_numpy(waveform)[None])[0].numpy()[:1000].astype(np.float64)
        assert not clip[598:].any()
        each.append((clip.mean(), clip.std()))
    found = json.loads((tmp_path / "out" / "statistics.json").read_text(encoding="utf-8"))
    np.testing.assert_allclose([found["mean"], found["std"]], np.mean(each, axis=0), rtol=1e-5)


def test_a_clip_longer_than_the_network_hears_counts_up_to_there() -> None:
    heard = voice_stages.real_frames(audio.fit(audio.speech(), 20 * audio.RATE))
    assert heard.shape == (1024, 128)


def test_crop_cuts_the_face_out_and_counts_landmarks_there(tmp_path: Path) -> None:
    place = corpus(tmp_path / "people", pictures=2, clips=0, splits=False)
    photo = np.zeros((400, 700, 3), np.uint8)
    photo[100:324, 300:524] = image.samples()["astronaut.png"]
    Image.fromarray(photo).save(manifest.read(place).files()[0])
    options = Options(stages=("pictures", "embeddings"), crop=True, jobs=1)
    prepare(place, tmp_path / "out", options)
    ready = open_prepared(tmp_path / "out")
    face = face_detection.find(photo)[0]
    points = face_detection.crop(photo, face)[1]
    np.testing.assert_allclose(ready.landmarks[0], points, rtol=0, atol=2)
    np.testing.assert_allclose(ready.landmarks_of(0), face.landmarks, rtol=0, atol=2)
    np.testing.assert_array_equal(
        ready.picture(0), face_detection.Square(*ready.crop_boxes[0].tolist()).cut(photo, 224)
    )
    np.testing.assert_allclose(ready.embeddings[0], load(FACE)(ready.picture(0))[0], atol=1e-5)


def test_of_several_faces_the_largest_counts_and_the_picture_is_listed(tmp_path: Path) -> None:
    place = corpus(tmp_path / "people", pictures=2, clips=0)
    astronaut = Image.fromarray(image.samples()["astronaut.png"])
    both = Image.new("RGB", (448, 224))
    both.paste(astronaut.resize((150, 150)), (20, 40))
    both.paste(astronaut, (224, 0))
    both.save(file := manifest.read(place).files()[0])
    told: list[str] = []
    prepare(place, tmp_path / "out", Options(stages=("landmarks",), jobs=1), told.append)
    listed = (tmp_path / "out" / "several_faces.csv").read_text(encoding="utf-8")
    assert listed == f"row,path,faces\n0,{file},2\n"
    assert told[1].startswith("several faces in 1 pictures") and told[1].endswith("faces.csv")
    shard = shards.open_shard(str(tmp_path / "out" / "landmarks" / "00000.safetensors"))
    assert shard.array("faces").tolist() == [2, 1]
    assert open_prepared(tmp_path / "out").landmarks[0][:, 0].mean() > 112


def test_addresses_work_like_paths(shared: Path, tmp_path: Path) -> None:
    place = f"file://{tmp_path / 'out'}"
    prepare(f"file://{shared / 'people'}", place, ONE)
    assert contents(tmp_path / "out") == contents(shared / "one")
    far = open_prepared(place)
    np.testing.assert_array_equal(far.textures[6], open_prepared(shared / "one").textures[6])
    np.testing.assert_array_equal(far.waveform(3), audio.decode(far.file(3)))
    assert far.embeddings.all()[1].shape == (6, 128)


def test_files_at_addresses_are_read(shared: Path, tmp_path: Path) -> None:
    table = manifest.read(people(tmp_path / "people", {4: cut_in_half, 5: cut_in_half, 8: empty}))
    columns = {name: table.column(name) for name in manifest.COLUMNS}
    columns["root"] = [f"file://{root}" for root in columns["root"]]
    options = Options(stages=("embeddings", "audio"), jobs=1, max_failures="100%")
    prepare(manifest.from_columns(columns), tmp_path / "out", options)
    assert [int(line["row"]) for line in failures(tmp_path / "out")] == [4, 5, 8]
    near, far = open_prepared(shared / "one"), open_prepared(tmp_path / "out")
    np.testing.assert_allclose(far.embeddings[2], near.embeddings[2], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(far.waveform(3), near.waveform(3))


def test_copies_of_a_prepared_corpus_are_small(ready: Prepared) -> None:
    ready.textures[0], ready.waveform(1)
    data = pickle.dumps(ready)
    assert len(data) < 20_000
    np.testing.assert_array_equal(pickle.loads(data).waveform(1), ready.waveform(1))


def test_rows_of_the_other_kind_are_refused(ready: Prepared) -> None:
    with pytest.raises(CorpusError, match="Row 1 of the manifest has no embeddings"):
        ready.embeddings[1]
    with pytest.raises(UsageError, match="has no embeddings of vggface"):
        ready.faces("vggface.serengil")
    assert 1 not in ready.textures and 2 in ready.textures and 99 not in ready.textures


def start(
    manifest_place: Path,
    out: Path,
    jobs: int = 1,
    stages: tuple[str, ...] = ALL,
    limit: str = "5%",
    **more: Any,
) -> subprocess.Popen[str]:
    """Start the command as a user does."""
    return subprocess.Popen(
        [
            str(Path(sys.executable).with_name("vox2face")),
            *("data", "prepare", str(manifest_place), "--out", str(out), "--jobs", str(jobs)),
            *("--stages", ",".join(stages), "--shard-rows", "2", "--max-failures", limit),
            *(("--encode", "mp3,8k") if stages == ALL else ()),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


@pytest.mark.long
def test_a_worker_warns_in_one_line(tmp_path: Path) -> None:
    place = corpus(tmp_path / "people", pictures=0, clips=1)
    (clip,) = place.parent.rglob("*.wav")
    soundfile.write(clip, np.linspace(-2, 2, 20_000), 16_000, "FLOAT")
    run = start(place, tmp_path / "out", jobs=2, stages=("voices",))
    assert run.communicate()[1] == (
        f"Warning: {clip} reaches 2, but floats lie in -1..1: louder samples are clipped.\n"
    )


def wait_for_shards(run: subprocess.Popen[str], folder: Path, count: int) -> None:
    """Wait until a run has made some shards, or ended."""
    while run.poll() is None and len(list(folder.rglob("*.safetensors"))) < count:
        time.sleep(0.002)


@pytest.mark.long
def test_killed_at_any_moment_and_run_again_gives_the_bytes_of_one_run(
    shared: Path, tmp_path: Path
) -> None:
    draw, out, killed = random.Random(5), tmp_path / "out", 0
    for count, jobs in ((1, 1), (4, 2), (10, 1)):
        run = start(shared / "people", out, jobs)
        wait_for_shards(run, out, count)
        time.sleep(draw.random() * 0.05)
        run.kill()
        run.communicate()  # returns when its workers have ended too
        killed += run.returncode == -signal.SIGKILL
    assert killed >= 2
    prepare(shared / "people", out, ONE)
    assert contents(out) == contents(shared / "one")


@pytest.mark.long
def test_an_interrupted_pool_leaves_nothing_running_and_goes_on(
    shared: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = start(shared / "people", out, jobs=2)
    wait_for_shards(run, out, 2)
    run.send_signal(signal.SIGINT)
    assert run.communicate()[1] == "" and run.returncode == 130
    assert not [name for name in contents(out) if "partial" in name]
    prepare(shared / "people", out, ONE)
    assert contents(out) == contents(shared / "one")


def children(pid: int) -> list[int]:
    """Return the worker processes of a process."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    lines = {int(child): Path(f"/proc/{child}/cmdline") for child in text.split()}
    return [child for child, line in lines.items() if b"spawn_main" in line.read_bytes()]


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="workers are found in /proc")
def test_a_killed_worker_is_replaced_and_the_result_is_that_of_one_process(
    shared: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = start(shared / "people", out, jobs=2)
    wait_for_shards(run, out, 1)
    workers = children(run.pid)
    os.kill(workers[0], signal.SIGKILL)
    complained = run.communicate()[1]
    assert run.returncode == 0, complained
    assert contents(out) == contents(shared / "one")


class Doomed(engines.Pool):
    """A pool whose processes die of one shard."""

    def submit(self, job: ShardJob) -> Future[ShardResult]:
        future: Future[ShardResult] = Future()
        if job.number == 1:
            future.set_exception(BrokenProcessPool())
        else:
            future.set_result(ShardResult(job))
        return future


def test_a_shard_that_kills_all_its_workers_is_named_and_the_others_are_made() -> None:
    jobs = [ShardJob("voices", n, "/out", (), (), {}, {}) for n in range(4)]
    problems = {result.job.number: result.problem for result in Doomed(2).run(jobs)}
    assert sorted(problems) == [0, 1, 2, 3]
    assert [number for number, problem in problems.items() if problem] == [1]
    assert "that made /out/voices/00001.safetensors ended without an error message" in problems[1]


DEADLY = """
import os, signal, sys
def kill(event, arguments):
    if event == "open" and str(arguments[0]).endswith("1/face.png"):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(kill)
"""


@pytest.mark.long
def test_a_file_that_kills_the_process_is_left_out_and_listed_the_next_time(tmp_path: Path) -> None:
    place, out = corpus(tmp_path / "people", pictures=5, clips=0), tmp_path / "out"
    (tmp_path / "sitecustomize.py").write_text(DEADLY)
    more = {"env": {**os.environ, "PYTHONPATH": str(tmp_path)}}
    run = start(place, out, stages=("pictures",), limit="1", **more)
    assert run.communicate() and run.returncode == -signal.SIGKILL
    run = start(place, out, stages=("pictures",), limit="1", **more)
    assert run.communicate()[1] == "" and run.returncode == 0
    (line,) = failures(out)
    assert line["row"] == "1"
    assert "2 processes that read it ended without an error message" in line["reason"]
    assert [row for row in range(5) if row in open_prepared(out).pictures] == [0, 2, 3, 4]
    assert not list(out.rglob("*.making"))


@pytest.mark.long
def test_a_file_that_takes_too_much_memory_once_is_tried_again(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(place: str) -> None:
        raise MemoryError

    monkeypatch.setattr(image, "decode", too_much)
    prepare(shared / "people", tmp_path / "out", replace(ONE, stages=("pictures",)))
    same = contents(shared / "one" / "pictures")
    assert contents(tmp_path / "out" / "pictures") == same


def test_a_note_of_a_shard_that_is_kept_is_removed(shared: Path, tmp_path: Path) -> None:
    few = replace(ONE, stages=("audio",))
    prepare(shared / "people", tmp_path / "out", few)
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "audio" / "00001.making").write_text("3")
    prepare(shared / "people", tmp_path / "out", few)
    assert contents(tmp_path / "out") == before


def test_bad_files_cost_a_line_each(tmp_path: Path) -> None:
    ruin = {0: Path.unlink, 1: Path.unlink, 2: empty, 3: empty, 4: cut_in_half, 5: cut_in_half}
    place = people(tmp_path / "people", {**ruin, 6: faceless}, splits=False)
    options = Options(stages=ALL, jobs=1, shard_rows=4, max_failures="100%")
    prepare(place, tmp_path / "out", options)
    lines = failures(tmp_path / "out")
    assert [int(line["row"]) for line in lines] == [0, 1, 2, 3, 4, 5, 6]
    files = manifest.read(place).files()
    for line in lines:
        assert line["path"] == files[int(line["row"])]
        assert line["path"] in line["reason"] and line["reason"].endswith(".")
    assert lines[0]["stages"] == "landmarks+pictures+embeddings/dlib_resnet128.dlib+textures"
    assert lines[1]["stages"] == "audio+voices"
    assert lines[6]["stages"] == "landmarks" and "No face was found" in lines[6]["reason"]
    ready = open_prepared(tmp_path / "out")
    assert ready.failed_rows == {0, 1, 2, 3, 4, 5, 6}
    assert ready.embeddings.good().tolist() == [6, 8, 10]
    assert ready.textures.good().tolist() == [8, 10] and ready.starts.good().tolist() == [7, 9, 11]
    assert np.isfinite(ready.embeddings.all()[1]).all()
    np.testing.assert_array_equal(ready.waveform(7), audio.decode(ready.file(7)))
    np.testing.assert_array_equal(ready.waveform(11), audio.decode(ready.file(11)))
    with pytest.raises(CorpusError, match=r"Row 3 .* see failures.csv"):
        ready.waveform(3)


def test_a_picture_without_finite_embedding_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = people(tmp_path / "people", {}, pictures=3, clips=0)
    encoder = face_stages.load_encoder(FACE, "dlib", "torch", "cpu", ())
    embed = encoder.embed
    overflow = np.array([[1], [np.inf], [1]], np.float32)
    monkeypatch.setattr(encoder, "embed", lambda batch: embed(batch) * overflow)
    few = Options(stages=("embeddings",), jobs=1, max_failures="1")
    prepare(place, tmp_path / "out", few)
    (line,) = failures(tmp_path / "out")
    assert line["row"] == "1" and "gives no finite values for" in line["reason"]
    assert open_prepared(tmp_path / "out").embeddings.good().tolist() == [0, 2]


def test_too_many_failures_end_the_run_with_the_reasons_and_keep_what_was_made(
    tmp_path: Path,
) -> None:
    place = people(tmp_path / "people", {0: faceless, 1: faceless, 3: empty}, clips=0)
    few = {"stages": ("landmarks",), "jobs": 1, "shard_rows": 3}
    with pytest.raises(CorpusError) as caught:
        prepare(place, tmp_path / "out", Options(max_failures="1", **few))
    assert "2 files failed in stage landmarks, but only 1 may (2 x No face" in str(caught.value)
    assert [line["row"] for line in failures(tmp_path / "out")] == ["0", "1"]
    first = tmp_path / "out" / "landmarks" / "00000.safetensors"
    before = first.stat().st_mtime_ns
    with pytest.raises(CorpusError, match="is not a prepared corpus, or its preparation has not"):
        open_prepared(tmp_path / "out")
    prepare(place, tmp_path / "out", Options(max_failures="50%", **few))
    assert [line["row"] for line in failures(tmp_path / "out")] == ["0", "1", "3"]
    assert first.stat().st_mtime_ns == before


def test_retry_tries_what_failed_again(tmp_path: Path) -> None:
    place = people(tmp_path / "people", {1: empty}, pictures=0, clips=4)
    few = {"stages": ("audio",), "jobs": 1, "shard_rows": 2, "max_failures": "1"}
    prepare(place, tmp_path / "out", Options(**few))
    files = [Path(file) for file in manifest.read(place).files()]
    files[1].write_bytes(files[0].read_bytes())
    prepare(place, tmp_path / "out", Options(**few))
    assert open_prepared(tmp_path / "out").failed_rows == {1}
    prepare(place, tmp_path / "out", Options(retry=True, **few))
    assert open_prepared(tmp_path / "out").failed_rows == set()


def test_what_was_made_of_a_retried_shard_is_rebuilt(tmp_path: Path) -> None:
    place = people(tmp_path / "people", {1: empty}, pictures=3, clips=0)
    few = {"jobs": 1, "shard_rows": 2, "max_failures": "1", "crop": True}
    few["stages"] = ("embeddings", "textures")
    prepare(place, tmp_path / "out", Options(**few))
    files = [Path(file) for file in manifest.read(place).files()]
    files[1].write_bytes(files[0].read_bytes())
    prepare(place, tmp_path / "out", Options(retry=True, **few))
    prepare(place, tmp_path / "new", Options(**few))
    assert contents(tmp_path / "out") == contents(tmp_path / "new")
    assert open_prepared(tmp_path / "out").embeddings.good().tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("limit", "rows", "allow"), [("5%", 100, 5), ("5%", 19, 0), ("0", 9, 0), (" 20 ", 9, 20)]
)
def test_max_failures_is_a_number_or_a_part(limit: str, rows: int, allow: int) -> None:
    assert allowed_failures(limit, rows) == allow


@pytest.mark.parametrize("limit", ["many", "-1", "5.5", "nan", "inf%", "%"])
def test_other_words_for_max_failures_are_refused(limit: str) -> None:
    with pytest.raises(UsageError, match="neither a number of files"):
        allowed_failures(limit, 100)


def test_other_options_are_refused_and_force_makes_anew_what_does_not_fit(
    shared: Path, tmp_path: Path
) -> None:
    few = {"stages": ("voices", "audio"), "jobs": 1, "shard_rows": 2}
    out = tmp_path / "out"
    prepare(shared / "people", out, Options(**few))
    sound = (out / "audio" / "00000.safetensors").stat().st_mtime_ns
    other = {**few, "voice_preset": "ast-audioset"}
    with pytest.raises(
        CorpusError,
        match=r"voice preset was 'ast-speech-to-face' and is now 'ast-audioset'. Choose another",
    ):
        prepare(shared / "people", out, Options(**other))
    prepare(shared / "people", out, Options(force=True, **other))
    assert (out / "audio" / "00000.safetensors").stat().st_mtime_ns == sound
    assert open_prepared(out).settings("voices")["voice_preset"] == "ast-audioset"
    with pytest.raises(CorpusError, match="are in shards of 2 rows"):
        prepare(shared / "people", out, Options(**{**other, "shard_rows": 3}))
    prepare(shared / "people", out, Options(**{**other, "shard_rows": 3}, force=True))
    prepare(shared / "people", tmp_path / "new", Options(**{**other, "shard_rows": 3}))
    assert contents(out) == contents(tmp_path / "new")


@pytest.mark.parametrize(
    "other",
    [
        {"voice_preset": "ast-audioset"},
        {"shard_rows": 3},
        {"crop": True},
        {"crop": True, "stages": ("voices",)},
        {"preset": "blue"},
        {"engine": "spark"},
        {"max_failures": "0"},
    ],
    ids=str,
)
def test_a_refused_run_changes_no_file(tmp_path: Path, other: dict[str, Any]) -> None:
    place, out = people(tmp_path / "people", {1: empty, 2: empty}, pictures=3, clips=3), "out"
    few = {"stages": ("pictures", "embeddings", "voices"), "jobs": 1, "shard_rows": 2}
    few["max_failures"] = "50%"
    prepare(place, tmp_path / out, Options(**few))
    before = contents(tmp_path / out)
    assert [line["row"] for line in failures(tmp_path / out)] == ["1", "2"]
    with pytest.raises(Vox2FaceError):
        prepare(place, tmp_path / out, Options(**{**few, **other}))
    assert contents(tmp_path / out) == before


def test_an_interrupted_run_forgets_no_failures_of_stages_it_did_not_come_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = people(tmp_path / "people", {1: empty, 2: empty}, pictures=3, clips=3)
    few = {"stages": ("pictures", "audio"), "jobs": 1, "shard_rows": 2, "max_failures": "50%"}
    prepare(place, tmp_path / "out", Options(**few))
    before = contents(tmp_path / "out")

    def interrupt(path: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(image, "decode", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare(place, tmp_path / "out", Options(retry=True, **few))
    assert contents(tmp_path / "out") == before


def test_another_manifest_is_refused(shared: Path, tmp_path: Path) -> None:
    few = {"stages": ("audio",), "jobs": 1}
    prepare(shared / "people", tmp_path / "out", Options(**few))
    other = corpus(tmp_path / "others")
    with pytest.raises(CorpusError, match="was prepared from another manifest"):
        prepare(other, tmp_path / "out", Options(**few))
    prepare(other, tmp_path / "out", Options(force=True, **few))
    prepare(other, tmp_path / "new", Options(**few))
    assert contents(tmp_path / "out") == contents(tmp_path / "new")


def test_stages_may_be_added_later(shared: Path, tmp_path: Path) -> None:
    for stages in (("voices",), ("textures",), ("audio", "pictures"), ("embeddings",)):
        few = Options(stages=stages, jobs=1, shard_rows=2)
        prepare(shared / "people", tmp_path / "out", few)
    prepare(shared / "people", tmp_path / "out", replace(few, encode=ONE.encode))
    assert contents(tmp_path / "out") == contents(shared / "one")


@pytest.mark.parametrize(
    "damage", [cut_in_half, empty, lambda path: path.write_bytes(b"\xff" * 99)]
)
def test_a_damaged_shard_is_named_and_made_anew(
    shared: Path, tmp_path: Path, damage: Callable[[Path], Any]
) -> None:
    few = Options(stages=("audio",), jobs=1)
    prepare(shared / "people", tmp_path / "out", few)
    want = contents(tmp_path / "out")
    damage(tmp_path / "out" / "audio" / "00000.safetensors")
    with pytest.raises(CorpusError, match=r"00000\.safetensors is damaged"):
        open_prepared(tmp_path / "out").waveform(1)
    prepare(shared / "people", tmp_path / "out", few)
    assert contents(tmp_path / "out") == want


@pytest.mark.long
def test_a_full_disk_is_one_sentence_and_loses_nothing(shared: Path, tmp_path: Path) -> None:
    out, stages = tmp_path / "out", ("embeddings", "audio")

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    run = start(shared / "people", out, stages=stages, preexec_fn=small_disk)
    complained = run.communicate()[1]
    assert run.returncode == 1
    assert complained.startswith("Error: Cannot write ") and "disk is full" in complained
    assert complained.count("\n") == 1
    assert len(list((out / "embeddings").rglob("*.safetensors"))) == 3
    assert not [name for name in contents(out) if "partial" in name]
    prepare(shared / "people", out, ONE)
    assert contents(out) == contents(shared / "one")


def test_a_full_disk_is_not_blamed_on_the_files(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(audio, "decode", full)
    with pytest.raises(Vox2FaceError, match="disk is full"):
        prepare(shared / "people", tmp_path / "out", Options(stages=("audio",), jobs=1))


def test_a_folder_without_permission_is_one_sentence(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*arguments: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(Vox2FaceError, match=r"Cannot write .* writing there is not permitted"):
        prepare(shared / "people", tmp_path / "out", ONE)


def test_a_manifest_of_another_version_is_one_sentence(
    shared: Path, tmp_path: Path, inside: Callable[..., Any]
) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(shared / "people" / manifest.FILE)
    marks = {**table.schema.metadata, manifest.MARK: b"0"}
    pq.write_table(table.replace_schema_metadata(marks), tmp_path / manifest.FILE)
    done = inside("data", "prepare", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "a manifest of version 0; expected version 2" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": ("faces",)}, "There is no stage faces: use landmarks"),
        ({"stages": ()}, "There is no stage asked for"),
        ({"voice_preset": "ve-conv"}, "Preset ve-conv has no filter bank"),
        ({"voice_preset": "loud"}, "There is no voice preset 'loud'"),
        ({"preset": "blue"}, "blue"),
        ({"faces": ("ve_conv.speech2face",)}, "not a face encoder"),
        ({"faces": ("vggface.nobody",)}, "vggface.nobody"),
        ({"engine": "spark"}, "There is no engine 'spark': use local or ray"),
        ({"statistics": "some"}, "There are no 'some' statistics"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_failures": "few"}, "--max-failures few"),
        ({"stages": ("coded",)}, "There is no stage coded: use landmarks"),
        ({"encode": ("mp3", "vhs")}, "There is no encoding vhs: use mp3, aac, opus, 8k"),
    ],
)
def test_invalid_options_are_refused_before_anything_is_made(
    shared: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(Vox2FaceError, match=message):
        prepare(shared / "people", tmp_path / "out", Options(**options))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_manifest_without_usable_rows_is_refused(shared: Path, tmp_path: Path) -> None:
    voices = manifest.read(shared / "people").where(kind="voice")
    with pytest.raises(CorpusError, match="no rows that the stages asked for could take"):
        prepare(voices, tmp_path / "out", Options(stages=("landmarks",)))


def test_differences_are_told_in_words() -> None:
    found, wanted = {"crop": True, "files": "1", "version": 1}, {"crop": False, "files": "2"}
    assert difference(found, wanted) == (
        "crop was True and is now False; of other rows or files of a manifest; "
        "version was 1 and is now None"
    )


def test_the_command_tells_rates_and_failures(
    shared: Path, tmp_path: Path, inside: Callable[..., Any]
) -> None:
    arguments = ("data", "prepare", shared / "people", "--out", tmp_path / "out", "--jobs", 1)
    done = inside(*arguments, "--stages", "audio")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("audio: 6 clips (6 new, ")
    assert done.stdout.splitlines()[0].endswith("a second), 0 failures")
    again = inside(*arguments, "--stages", "audio")
    assert "audio: 6 clips (all there already), 0 failures" in again.stdout


def test_shards_say_what_they_were_made_of(shared: Path) -> None:
    place = shared / "one" / "embeddings" / FACE / "00001.safetensors"
    facts = shards.read(str(place)).facts
    assert facts["stage"] == f"embeddings/{FACE}" and facts["shard"] == 1
    assert facts["preset"] == "dlib" and len(facts["weights"]) == 64
    assert storage.exists(place)
