"""Whether an encoder trained on synthetic people hears the sex of real ones.

    python benchmarks/real_voices.py RECORDINGS --voice BUNDLE --prepared DIR
                                     [--face NAME] [--decoder BUNDLE] [--encode 8k,mp3]

RECORDINGS is what scripts/fetch_real_voices.py wrote, DIR a prepared corpus of synthetic people
with their face embeddings. A logistic regression learns the sex from the faces of the split train
and is tried on those of the others; then it judges the faces that the encoder predicts from the
recordings, and with --decoder the pictures drawn of them, embedded again; with --encode the same of
copies that went through codecs of `vox2face data prepare`. Only figures over all
recordings are printed, never one of a person. With so few speakers they are coarse: an encoder is
chosen on synthetic people, and this says whether it fails elsewhere. Needs the extra
`train`.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import vox2face
from vox2face.core.errors import UsageError, Vox2FaceError
from vox2face.media import audio, codecs
from vox2face.runtime.face_decoder import FaceDecoder
from vox2face.runtime.load import load_kind
from vox2face.runtime.voice_encoder import VoiceEncoder
from vox2face.train.prepare.reader import Prepared, open_prepared

Array = NDArray[Any]
WOMAN = "f"


def classifier(prepared: Prepared, face: str | None) -> tuple[Any, float]:
    """Return a classifier of sex by face embeddings, and its accuracy on people it has not seen."""
    rows, faces = prepared.faces(face).all()
    sexes, splits = (np.array(prepared.manifest.column(c))[rows] for c in ("gender", "split"))
    known = np.isin(sexes, ("f", "m"))
    train = known & (splits == "train")
    held = known & (splits != "train")
    if len(set(sexes[train])) < 2 or not held.any():
        raise UsageError(
            f"{prepared.folder} needs women and men in the split train, and people in another one: "
            "prepare a corpus that vox2face data synth made."
        )
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    fitted.fit(faces[train], sexes[train] == WOMAN)
    return fitted, float(fitted.score(faces[held], sexes[held] == WOMAN))


def told(name: str, scores: Array, women: Array, speakers: Array) -> str:
    """Return a line with the figures of log-odds (n,) that a recording is of a woman."""
    people = np.unique(speakers)
    means = np.array([scores[speakers == p].mean() for p in people])
    sexes = np.array([women[speakers == p][0] for p in people])
    right = int(((scores > 0) == women).sum())
    return (
        f"{name:<23} {right:>3} of {len(women)} recordings, AUC {roc_auc_score(women, scores):.3f};"
        f" {int(((means > 0) == sexes).sum())} of {len(people)} speakers,"
        f" AUC {roc_auc_score(sexes, means):.3f}; said to be women"
        f" {int((scores > 0).sum())}, are {int(women.sum())}"
    )


def heard(file: Path, codec: str) -> Array:
    """Return a recording at 16 kHz, float32 (samples,), after a codec if one is named."""
    waveform = audio.decode(file)
    if not codec:
        return waveform
    pcm = codecs.encoded(audio.to_pcm(waveform), codecs.CODECS[codec])
    return pcm.astype(np.float32) / audio.FULL_SCALE


def measure(
    recordings: Path,
    voice: str,
    prepared: Prepared,
    face: str | None,
    decoder: str,
    encodings: Sequence[str],
) -> list[str]:
    """Return the lines to print."""
    with (recordings / "recordings.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    women = np.array([line["sex"] == WOMAN for line in lines])
    speakers = np.array([line["speaker"] for line in lines])
    judge, accuracy = classifier(prepared, face)
    encoder = load_kind(VoiceEncoder, voice)
    drawing = load_kind(FaceDecoder, decoder) if decoder else None
    found = [f"sex by synthetic faces of unseen people: {accuracy:.3f}"]
    for codec in ("", *encodings):
        waveforms = [heard(recordings / line["file"], codec) for line in lines]
        predicted = encoder(waveforms, rate=audio.RATE)
        scores = {"predicted faces": judge.decision_function(predicted)}
        if drawing is not None:
            again = prepared.encoder(face)([drawn.pixels for drawn in drawing(predicted)])
            scores["decoded pictures"] = judge.decision_function(again)
        found += [
            told(f"{what}{codec and f', {codec}'}", values, women, speakers)
            for what, values in scores.items()
        ]
    return found


def main() -> None:
    """Print the figures, or one sentence."""
    parser = argparse.ArgumentParser()
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--voice", required=True)
    parser.add_argument("--prepared", required=True)
    parser.add_argument("--face")
    parser.add_argument("--decoder", default="")
    parser.add_argument("--encode", default="", metavar="A,B,...")
    given = parser.parse_args()
    try:
        prepared, encodings = open_prepared(given.prepared), given.encode.split(",")
        encodings = [name for name in encodings if name]
        codecs.require_codecs(encodings)
        lines = measure(
            given.recordings, given.voice, prepared, given.face, given.decoder, encodings
        )
    except Vox2FaceError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    print("\n".join([f"vox2face {vox2face.__version__}, {given.voice}", *lines]))


if __name__ == "__main__":
    main()
