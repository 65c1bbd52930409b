"""From a voice or a photograph to a face: the pipelines, their files and their commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
import torch
from helpers.pipeline_fixtures import VOICES
from helpers.twins import random_module
from PIL import Image

import vox2face as package
from vox2face.cli import batch
from vox2face.core.errors import AudioError, UsageError
from vox2face.media.audio import speech
from vox2face.media.decoded_face import SOURCE_TYPE, Face, made_by
from vox2face.media.image import samples
from vox2face.runtime.pipelines import FaceToFace, SpeechToFace, fused

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
Run = Callable[..., CompletedProcess[str]]
Make = Callable[..., Path]


@pytest.mark.long
@pytest.mark.parametrize("name", VOICES)
def test_a_recording_becomes_a_face_alike_on_both_backends(name: str, bundle: Make) -> None:
    voice, decoder = bundle(name), bundle("face_decoder.speech-to-face")
    faces = {
        backend: SpeechToFace.from_zoo(voice=voice, decoder=decoder, backend=backend)(
            speech(), rate=16_000
        )
        for backend in ("torch", "onnx")
    }
    face = faces["torch"]
    assert face.image.shape == face.texture.shape == (3, 224, 224)
    assert face.image.dtype == face.landmarks.dtype == face.embedding.dtype == np.float32
    assert np.array_equal(face.image, face.texture)  # this decoder does not warp
    assert face.texture.min() >= 0 and face.texture.max() <= 1 and face.texture.std() > 0
    assert face.landmarks.shape == (68, 2) and face.embedding.shape == (48,)
    assert name in face.made_by["encoder"]
    for part in ("image", "landmarks", "embedding"):
        want, got = getattr(face, part), getattr(faces["onnx"], part)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())


@pytest.mark.long
def test_the_pipeline_is_front_end_encoder_and_decoder_in_a_row(bundle: Make) -> None:
    voice = package.load(bundle(VOICES[0]))
    decoder = package.load(bundle("face_decoder.speech-to-face"))
    face = SpeechToFace(voice, decoder)(speech(), rate=16_000)
    from vox2face.media.audio import read

    waveform = read(speech(), 16_000, decibels=-23.0, samples=96_000)
    x = voice.frontend(torch.from_numpy(waveform[None]))
    assert x.shape == (1, 2, 257, 601)
    with torch.inference_mode():
        embedding = voice.module(x)
        landmarks, texture = decoder.module(embedding)
    np.testing.assert_allclose(face.embedding, embedding[0].numpy(), rtol=1e-4, atol=1e-4)
    want = texture[0].clamp(0, 1).numpy()
    np.testing.assert_allclose(face.texture, want, rtol=0, atol=1e-4)
    raw = landmarks.view(72, 2).numpy()
    np.testing.assert_allclose(face.landmarks[0], raw[0], rtol=1e-4)  # the chin comes first
    np.testing.assert_allclose(face.landmarks[27:31], raw[27:31], rtol=1e-4)  # bridge of the nose


@pytest.mark.long
def test_a_decoder_with_mean_landmarks_warps(bundle: Make) -> None:
    path = bundle("face_decoder.cole")
    assert json.loads((path / "config.json").read_text())["warp"] == "mean landmarks"
    decoder = package.load(path)
    assert decoder.warps
    (face,) = decoder(np.abs(np.random.default_rng(0).standard_normal((1, 48), np.float32)))
    assert not np.array_equal(face.image, face.texture)
    moved = np.abs(face.landmarks - decoder.module.mean_landmarks.numpy()).max()
    assert 0.1 < moved < 40
    decoder.tail.warp = None
    assert np.array_equal(decoder(face.embedding)[0].image, face.texture)


@pytest.mark.long
def test_one_gives_one_and_a_list_a_list(bundle: Make, wav: Callable[..., Path]) -> None:
    pipeline = SpeechToFace.from_zoo(bundle(VOICES[0]), bundle("face_decoder.speech-to-face"))
    path = wav("a.wav")
    one, some = pipeline(path), pipeline([path, wav("b.wav", 8000)])
    assert isinstance(one, Face) and [type(face) for face in some] == [Face, Face]
    np.testing.assert_allclose(one.embedding, some[0].embedding, rtol=1e-3, atol=1e-4)
    assert not np.allclose(some[0].embedding, some[1].embedding)
    with path.open("rb") as file:
        assert np.array_equal(pipeline(file).embedding, one.embedding)
    assert pipeline([]) == []
    faces = FaceToFace.from_zoo(
        "dlib_resnet128.dlib", bundle("face_decoder.cole", onnx=False, width=128)
    )
    pictures = list(samples().values())
    assert isinstance(faces(pictures[0]), Face) and len(faces(pictures)) == 2
    each = np.stack([face.embedding for face in faces(pictures)])
    np.testing.assert_allclose(faces.fuse(pictures).embedding, fused(each)[0], rtol=1e-5)
    with pytest.raises(UsageError, match="no picture to fuse"):
        faces.fuse([])


@pytest.mark.long
def test_clips_of_one_speaker_are_fused_as_the_mean_of_unit_embeddings(
    bundle: Make, wav: Callable[..., Path]
) -> None:
    pipeline = SpeechToFace.from_zoo(bundle(VOICES[0]), bundle("face_decoder.speech-to-face"))
    clips = [wav("a.wav", 0, 20_000), wav("b.wav", 20_000, 40_000)]
    each = np.stack([face.embedding for face in pipeline(clips)])
    face = pipeline.fuse(clips)
    units = each / np.linalg.norm(each, axis=1, keepdims=True)
    want = units.mean(0) * np.linalg.norm(each, axis=1).mean()
    np.testing.assert_allclose(face.embedding, want, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(fused(each[:1]), each[:1], rtol=1e-6)
    with pytest.raises(UsageError, match="no recording to fuse"):
        pipeline.fuse([])


@pytest.mark.long
def test_models_that_do_not_fit_are_refused(bundle: Make) -> None:
    voice, decoder = bundle(VOICES[0]), bundle("face_decoder.cole", onnx=False, width=32)
    with pytest.raises(UsageError, match=r"gives embeddings of 48 values and .* takes 32"):
        SpeechToFace.from_zoo(voice, decoder)
    with pytest.raises(UsageError, match="is a voice-encoder, expected a face-decoder"):
        SpeechToFace.from_zoo(voice, voice)
    with pytest.raises(UsageError, match="is a voice-encoder, expected a face-encoder"):
        FaceToFace.from_zoo(voice, decoder)
    loaded = package.load(decoder)
    for bad in (np.ones((2, 31), np.float32), np.full((1, 32), np.nan, np.float32)):
        with pytest.raises(UsageError, match="takes finite embeddings of 32 values"):
            loaded(bad)
    encoder = package.load(voice)
    with pytest.raises(AudioError):
        encoder(np.zeros(16_000, np.float32), rate=16_000)
    with pytest.raises(UsageError, match="batch_size"):
        encoder(speech(), rate=16_000, batch_size=0)


@pytest.mark.long
def test_a_voice_encoder_of_any_width_and_partial_utterances_runs(bundle: Make) -> None:
    voice = package.load(bundle("ge2e.resemblyzer"))
    assert voice.width == 24 and voice.entry.width == 24
    long, short = speech(), speech()[:9000]
    embeddings = voice([long, short], rate=16_000)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
    onnx = package.load(bundle("ge2e.resemblyzer", seed=1), backend="onnx")
    assert onnx([long, short], rate=16_000).shape == (2, 24)


def face() -> Face:
    rng = np.random.default_rng(0)
    image = rng.random((3, 224, 224), np.float32)
    points = rng.random((68, 2), np.float32) * 200
    return Face(image, image, points, np.ones(4, np.float32), {"decoder": "d 1"})


def test_a_saved_picture_says_that_it_is_synthetic(tmp_path: Path) -> None:
    path = face().save(tmp_path / "deep" / "face.png")
    with Image.open(path) as picture:
        assert np.array_equal(np.asarray(picture), face().pixels)
        assert picture.size == (224, 224) and picture.mode == "RGB"
        info = dict(picture.info)
    assert "Synthetic" in info["Description"] and info["Software"].startswith("vox2face")
    (description,) = ElementTree.fromstring(info["XML:com.adobe.xmp"]).iter(f"{RDF}Description")
    assert description.attrib[f"{IPTC}DigitalSourceType"] == SOURCE_TYPE
    assert made_by(path) == {"decoder": "d 1"}
    plain = face().save(tmp_path / "plain.png", mark=False)
    with Image.open(plain) as picture:
        assert not picture.info and made_by(plain) is None
    drawn = np.asarray(face().pil(landmarks=True)).astype(int)
    assert np.abs(drawn - face().pixels).max() > 50
    with pytest.raises(UsageError, match=r"does not end in \.png"):
        face().save(tmp_path / "face.jpg")


def test_embed_takes_recordings_too(
    inside: Run, bundle: Make, wav: Callable[..., Path], tmp_path: Path
) -> None:
    voice, out = bundle(VOICES[0], onnx=False), tmp_path / "e.npz"
    files = (wav("a.wav"), wav("b.wav", 8000))
    done = inside("embed", *files, "--model", voice, "--output", out)
    assert done.returncode == 0, done.stderr
    with np.load(out) as stored:
        assert stored["embeddings"].shape == (2, 48)
        assert np.array_equal(stored["embeddings"], package.load(voice)(files))
        assert stored["audio"].tolist() == list(map(str, files)) and "images" not in stored
    done = inside("embed", *files, "--model", voice)
    assert done.stdout.startswith("audio,e0,") and len(done.stdout.splitlines()) == 3
    done = inside("embed", *files, "--model", voice, "--classify")
    assert done.returncode == 2 and "leave --classify out" in done.stderr
    done = inside("embed", files[0], "--model", bundle("face_decoder.cole", onnx=False))
    assert done.returncode and len(done.stderr.splitlines()) == 1


@pytest.mark.long
@pytest.mark.filterwarnings("default::vox2face.core.errors.Vox2FaceWarning")
def test_a_warning_is_one_line_and_ends_nothing(
    inside: Run, bundle: Make, wav: Callable[..., Path], tmp_path: Path
) -> None:
    voice, decoder = bundle("ve_conv.tiny"), bundle("face_decoder.cole")
    folder = wav("spoken/a.wav").parent
    for name, loudest in (("b\nc.wav", 2), ("d.wav", 9_000)):
        samples = speech() * np.float32(loudest / speech().max())
        soundfile.write(folder / name, samples, 16_000, "FLOAT")
    done = inside("embed", folder / "b\nc.wav", "--model", voice)
    warning = f"Warning: {folder}/b c.wav reaches 2, but floats lie in -1..1: "
    warning += "louder samples are clipped.\n"
    assert (done.returncode, done.stderr) == (0, warning)
    networks = ("--voice", voice, "--decoder", decoder)
    done = inside("speech2face", folder, *networks, "--output", tmp_path / "out")
    refused = f"Failed: {folder}/d.wav reaches 9000, but floats lie in -1..1: "
    refused += "divide 16-bit samples by 32768.\n"
    assert done.returncode == 1 and done.stderr.startswith(warning + refused)
    assert done.stdout == "2 faces written, 1 failed.\n"


@pytest.mark.long
def test_speech2face_writes_one_picture_for_one_file(
    inside: Run, bundle: Make, wav: Callable[..., Path], tmp_path: Path
) -> None:
    voice, decoder = bundle(VOICES[0]), bundle("face_decoder.speech-to-face")
    out = tmp_path / "face.png"
    models = ("--voice", voice, "--decoder", decoder)
    original = tmp_path / "me.png"
    Image.fromarray(samples()["astronaut.png"]).save(original)
    arguments = ("speech2face", wav("a.wav"), *models, "--output", out, "--compare", original)
    done = inside(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Written to {out}\n" and not done.stderr
    want = SpeechToFace.from_zoo(voice, decoder)(wav("a.wav"))
    with Image.open(out) as picture:
        assert np.array_equal(np.asarray(picture), want.pixels)
    with Image.open(tmp_path / "face.compare.png") as sheet:
        assert sheet.width > 3 * 224 and "Synthetic" in sheet.info["Description"]
    before = out.stat().st_mtime_ns
    assert inside(*arguments).stdout == f"Already there: {out}\n"
    assert out.stat().st_mtime_ns == before
    other = bundle("face_decoder.speech-to-face", seed=5)
    done = inside(
        "speech2face", wav("a.wav"), "--voice", voice, "--decoder", other, "--output", out
    )
    assert done.returncode == 2 and "was made of something else" in done.stderr


@pytest.mark.long
def test_a_picture_of_another_recording_or_option_is_not_taken_for_finished(
    inside: Run, bundle: Make, wav: Callable[..., Path], tmp_path: Path
) -> None:
    models = ("--voice", bundle("ve_conv.tiny"), "--decoder", bundle("face_decoder.cole"))
    out, first, other = tmp_path / "out", wav("a/s.wav"), wav("b/s.wav", 9000)
    assert inside("speech2face", first, *models, "--output", out).returncode == 0
    for changed in ((other,), (first, "--landmarks")):
        done = inside("speech2face", *changed, *models, "--output", out)
        assert done.returncode == 2 and "--force" in done.stderr
        assert inside("speech2face", *changed, *models, "--output", out, "--force").returncode == 0
        assert inside("speech2face", first, *models, "--output", out, "--force").returncode == 0
    original = tmp_path / "me.png"
    Image.fromarray(samples()["head.png"]).save(original)
    compared = ("speech2face", first, *models, "--output", out, "--compare", original)
    assert inside(*compared).stdout.startswith("Written")
    (out / "s.compare.png").unlink()
    assert inside(*compared).stdout.startswith("Written")
    assert inside(*compared).stdout.startswith("Already there")
    bare = ("speech2face", first, *models, "--output", tmp_path / "bare", "--no-marks")
    assert inside(*bare).returncode == 0 and inside(*bare).stdout.startswith("Already there")


@pytest.mark.long
def test_what_was_given_is_never_replaced(inside: Run, bundle: Make, tmp_path: Path) -> None:
    decoder = bundle("face_decoder.cole", width=128)
    photo = tmp_path / "me.png"
    Image.fromarray(samples()["head.png"]).save(photo)
    before = photo.read_bytes()
    for more in (("--output", photo), ("--output", tmp_path, "--force")):
        done = inside(
            *("face2face", photo, "--face", "dlib_resnet128.dlib", "--decoder", decoder, *more)
        )
        assert done.returncode == 2 and "is one of the files given" in done.stderr
        assert photo.read_bytes() == before


def test_a_png_without_output_becomes_a_face_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("me.png", "you.jpg"):
        (tmp_path / name).touch()
    for name, target in (("me.png", "me-face.png"), ("you.jpg", "you.png")):
        (item,) = batch.plan([Path(name)], None, (".png", ".jpg"), sheets=True)
        assert item.target == Path(target)


@pytest.mark.long
def test_whatever_holds_several_gives_several(bundle: Make, wav: Callable[..., Path]) -> None:
    pipeline = SpeechToFace.from_zoo(bundle("ve_conv.tiny"), bundle("face_decoder.cole"))
    files = [wav("a.wav"), wav("b.wav", 9000)]
    for several in (iter(files), (f for f in files), dict.fromkeys(files), set(files)):
        assert len(pipeline(several)) == 2  # type: ignore[call-overload]
    encoder = FaceToFace.from_zoo(
        "dlib_resnet128.dlib", bundle("face_decoder.cole", onnx=False, width=128)
    )
    assert len(encoder(np.stack([samples()["head.png"]] * 2))) == 2


@pytest.mark.long
def test_a_bad_clip_of_a_speaker_is_left_out(
    inside: Run, bundle: Make, wav: Callable[..., Path], tmp_path: Path
) -> None:
    models = ("--voice", bundle("ve_conv.tiny"), "--decoder", bundle("face_decoder.cole"))
    wav("id1/a.wav")
    (tmp_path / "id1/b.wav").write_bytes(b"nothing")
    out = tmp_path / "out"
    done = inside("speech2face", tmp_path / "id1", *models, "--fuse", "--output", out)
    assert done.returncode == 0 and "Left out" in done.stderr and "b.wav" in done.stderr
    assert (out / "id1.png").is_file()
    (tmp_path / "id1/a.wav").unlink()
    done = inside("speech2face", tmp_path / "id1", *models, "--fuse", "--output", tmp_path / "x")
    assert done.returncode == 1 and not (tmp_path / "x/id1.png").exists()


def test_modules_and_presets_that_do_not_fit_are_refused(bundle: Make, tmp_path: Path) -> None:
    module, out = random_module("ast.tiny"), tmp_path / "out"
    for wrong in (module, torch.nn.Linear(3, 4)):
        with pytest.raises(UsageError, match=r"is not the network of ve_conv\.tiny"):
            package.save("ve_conv.tiny", wrong, out)
    with pytest.raises(UsageError, match="hears a fbank, and the preset ve-conv makes a spectro"):
        package.save("ast.tiny", module, out, preset="ve-conv")
    with pytest.raises(UsageError, match="what JSON cannot"):
        package.save("ast.tiny", module, out, training={"x": object()})
    with pytest.raises(UsageError, match="is converted from published weights"):
        package.save("vggface.serengil", module, out)
    assert not out.exists()
    with pytest.raises(UsageError, match="hears a spectrogram"):
        package.load(bundle("ve_conv.tiny", onnx=False), preset="ast-audioset")
    with pytest.raises(UsageError, match="is a face-encoder, expected a voice-encoder"):
        SpeechToFace.from_zoo("vggface.serengil", "face_decoder.tiny")  # nothing is fetched


@pytest.mark.long
def test_speech2face_mirrors_folders_reports_failures_and_resumes(
    inside: Run, bundle: Make, wav: Callable[..., Path], tmp_path: Path
) -> None:
    models = ("--voice", bundle(VOICES[0]), "--decoder", bundle("face_decoder.speech-to-face"))
    wav("in/id1/x/1.wav")
    wav("in/id2/1.wav", 9000)
    (tmp_path / "in/id2/broken.mp3").write_bytes(b"no sound at all")
    (tmp_path / "in/notes.txt").write_text("not audio")
    out = tmp_path / "out"
    done = inside("speech2face", tmp_path / "in", *models, "--output", out)
    assert done.returncode == 1
    assert "2 faces written, 1 failed." in done.stdout
    assert "broken.mp3" in done.stderr and "Traceback" not in done.stderr
    files = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    assert files == ["id1/x/1.png", "id2/1.png"]
    (out / "id2/1.png").unlink()
    (tmp_path / "in/id2/broken.mp3").unlink()
    done = inside("speech2face", tmp_path / "in", *models, "--output", out)
    assert done.returncode == 0 and "1 faces written, 1 were there already" in done.stdout
    fused_out = tmp_path / "fused"
    done = inside("speech2face", tmp_path / "in", *models, "--fuse", "--output", fused_out)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in fused_out.iterdir()] == ["in.png"]


@pytest.mark.long
def test_face2face_decodes_pictures_and_photographs(
    inside: Run, bundle: Make, tmp_path: Path
) -> None:
    decoder = bundle("face_decoder.cole", width=128)
    models = ("--face", "dlib_resnet128.dlib", "--decoder", decoder)
    (tmp_path / "in").mkdir()
    for name, pixels in samples().items():
        Image.fromarray(pixels).save(tmp_path / "in" / name)
    out = tmp_path / "out"
    for backend in ("torch", "onnx"):
        done = inside(
            *("face2face", tmp_path / "in", *models, "--output", out, "--compare", "--force"),
            *("--landmarks", "--backend", backend),
        )
        assert done.returncode == 0, done.stderr
        assert sorted(p.name for p in out.iterdir()) == [
            f"{Path(n).stem}{kind}.png" for n in sorted(samples()) for kind in (".compare", "")
        ]
    photo = tmp_path / "photo.png"
    wide = np.full((300, 500, 3), 90, np.uint8)
    wide[40:264, 200:424] = samples()["astronaut.png"]
    Image.fromarray(wide).save(photo)
    done = inside("face2face", photo, *models, "--crop", "--align", "--output", out / "p.png")
    assert done.returncode == 0, done.stderr
    blank = tmp_path / "blank.png"
    Image.fromarray(np.full((200, 200, 3), 128, np.uint8)).save(blank)
    done = inside("face2face", blank, *models, "--crop", "--output", out / "b.png")
    assert done.returncode == 1 and "no face" in done.stderr.lower()
    assert not (out / "b.png").exists()


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere.wav",), "There is no nowhere.wav"),
        ((".",), "has no file that ends in"),
        (("a.wav", "a.wav", "--output", "b.png"), "name a folder for several"),
        (("a.wav", "--face", "x"), "add --compare"),
        (("a.wav", "b.wav", "--compare", "c.png"), "there are 2 recordings"),
        (("a.wav", "--device", "tpu"), "tpu"),
        (("a.wav", "--output", "a.wav"), "is a file"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_work(
    arguments: tuple[str, ...],
    words: str,
    inside: Run,
    wav: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bundle: Make,
) -> None:
    wav("a.wav")
    wav("b.wav")
    models = ("--voice", "v", "--decoder", "d")
    if "tpu" in arguments:
        models = ("--voice", str(bundle(VOICES[0])), "--decoder", "d")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty" if "." in arguments else tmp_path)
    done = inside("speech2face", *arguments, *models)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.long
@pytest.mark.parametrize(("patches", "frames"), [("squares", 204), ("deltas", 208)])
def test_an_ast_of_fewer_frames_hears_the_beginning_of_a_recording(
    tmp_path: Path, patches: str, frames: int
) -> None:
    module = random_module("ast.tiny", frames=frames, patches=patches)
    out = package.save("ast.tiny", module, tmp_path / "short", onnx=True)
    encoder = package.load(out)
    assert encoder.entry.input.shape == ("batch", frames, 128)
    wave = speech()[:40_000]
    found = encoder(wave, rate=16_000)
    whole = package.load(out, backend="onnx")(wave, rate=16_000)
    np.testing.assert_allclose(found, whole, atol=1e-4)
    changed = wave.copy()
    changed[34_000:] = wave[:6_000][::-1]  # behind the last frame; the level stays about the same
    near = encoder(changed, rate=16_000)
    changed[:6_000] = 0
    far = encoder(changed, rate=16_000)
    assert np.abs(near - found).max() < 0.2 * np.abs(far - found).max()
    front = encoder.frontend(torch.from_numpy(wave)[None])
    assert front.shape == (1, frames, 128)
