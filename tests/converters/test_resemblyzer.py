"""The free speaker encoder, against Resemblyzer's own code on real speech."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vox2face
from vox2face.core.parity import Report
from vox2face.media.audio import speech
from vox2face.store import bundle as bundles
from vox2face.zoo.sources import RESEMBLYZER

NAME = "ge2e.resemblyzer"

# What its modules import and this does not use: the detection of silences.
OWNER = """
import sys, types
for name in ("webrtcvad", "scipy.ndimage.morphology"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["scipy.ndimage.morphology"].binary_dilation = None
import numpy as np
from resemblyzer.audio import audio_norm_target_dBFS, normalize_volume
from resemblyzer.voice_encoder import VoiceEncoder
encoder = VoiceEncoder("cpu", verbose=False)
waves = np.load(sys.argv[1])
found = [
    encoder.embed_utterance(normalize_volume(waves[k], audio_norm_target_dBFS, increase_only=True))
    for k in waves
]
np.save(sys.argv[2], np.stack(found))
"""


@pytest.mark.long
def test_embeddings_are_those_of_its_own_code(python: Callable[..., str], tmp_path: Path) -> None:
    encoder = vox2face.load(NAME)  # converts the file of the installed package
    assert encoder.bundle is not None
    config = json.loads((encoder.bundle.path / bundles.CONFIG).read_text())
    assert config["source"]["published"] is True and config["licence"]["redistributable"] is True
    assert config["source"]["training"] == {"step": 1564501}
    report = Report.from_json((encoder.bundle.path / bundles.PARITY).read_text())
    assert report.ok and report.verify == "bits"
    spoken = speech()
    waves = [spoken, 0.1 * spoken, spoken[:9000], spoken[20000:], np.tile(spoken, 4)]
    np.savez(tmp_path / "waves.npz", *waves)
    python(OWNER, tmp_path / "waves.npz", tmp_path / "theirs.npy")
    theirs = np.load(tmp_path / "theirs.npy")
    for backend in ("torch", "onnx"):
        ours = vox2face.load(NAME, backend=backend)([w.astype(np.float32) for w in waves], 16_000)
        assert ours.shape == theirs.shape == (5, 256)
        # 16 bits are kept of an array, which moves the quiet one most
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-3)
        np.testing.assert_allclose(ours[[0, 2, 3, 4]], theirs[[0, 2, 3, 4]], rtol=0, atol=1e-4)
    assert (ours @ ours.T > 0.6).all()  # one speaker


def test_without_the_package_a_copy_or_a_download_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = RESEMBLYZER.installed
    assert path is not None and path.stat().st_size == RESEMBLYZER.size
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert RESEMBLYZER.installed is None
    with pytest.raises(vox2face.Vox2FaceError, match="vox2face convert resemblyzer --weights FILE"):
        vox2face.load(NAME)
