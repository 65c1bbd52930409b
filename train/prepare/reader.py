"""Reading what `vox2face data prepare` made of a corpus: any row in constant time.

The folder holds

| file                              | what                                                         |
|-----------------------------------|--------------------------------------------------------------|
| manifest.parquet                  | the manifest it was made of; rows are counted in it          |
| prepared.json                     | stages, their settings, how many rows they have and lack     |
| failures.csv                      | a line for each bad file: row, stages, path, reason          |
| several_faces.csv                 | a line for each picture with several: row, path, faces       |
| mean_landmarks.npy                | float32 (68, 2), of the train split                          |
| statistics.json                   | of the voices of the train split                             |
| STAGE/00000.safetensors ...       | shards of each stage                                         |
"""

from __future__ import annotations

import csv
import functools
import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vox2face.core.entry import Space
from vox2face.core.errors import CorpusError, UsageError, Vox2FaceError
from vox2face.train import storage
from vox2face.train.prepare.rows import FAILURES, Rows

if TYPE_CHECKING:
    from vox2face.runtime.face_encoder import FaceEncoder
    from vox2face.train.corpus.manifest import Manifest

__all__ = ["FAILURES", "Prepared", "Rows", "open_prepared"]

FILE, MEAN, STATISTICS = "prepared.json", "mean_landmarks.npy", "statistics.json"
SEVERAL = "several_faces.csv"
VERSION = 1
FULL_SCALE = 32_768  # of 16-bit samples


class Prepared:
    """A prepared corpus. Rows are those of `manifest`, which lies in the folder too.

    `facts` is what prepared.json holds. Stages that were not asked for raise `CorpusError`.
    """

    def __init__(self, folder: str, manifest: Manifest, facts: Mapping[str, Any]) -> None:
        self.folder, self.manifest, self.facts = folder, manifest, facts

    def __repr__(self) -> str:
        return f"Prepared({self.folder!r}: {', '.join(self.facts['stages'])})"

    @functools.cached_property
    def failures(self) -> list[dict[str, Any]]:
        """The failures: dicts of `row`, `stages` (tuple), `path` and `reason`."""
        text = storage.read_bytes(storage.join(self.folder, FAILURES)).decode(
            "utf-8", "surrogateescape"
        )
        rows = csv.DictReader(io.StringIO(text, newline=""))
        return [
            {
                "row": int(line["row"]),
                "stages": tuple(line["stages"].split("+")),
                "path": line["path"],
                "reason": line["reason"],
            }
            for line in rows
        ]

    @functools.cached_property
    def failed_rows(self) -> frozenset[int]:
        """The rows of the manifest that failed in any stage."""
        return frozenset(line["row"] for line in self.failures)

    @property
    def encoders(self) -> list[str]:
        """The names of the face encoders whose embeddings are there, the first asked for first."""
        return self._variants("embeddings")

    @property
    def encodings(self) -> list[str]:
        """The names of the codecs of which there are copies of the recordings."""
        return self._variants("coded")

    def _variants(self, stage: str) -> list[str]:
        names = (name.partition("/") for name in self.facts["stages"])
        return [variant for name, _, variant in names if name == stage and variant]

    @functools.cached_property
    def embeddings(self) -> Rows:
        """The embeddings of the first face encoder: `embeddings[row]` is float32 (width,)."""
        return self.faces()

    def faces(self, encoder: str | None = None) -> Rows:
        """Return the embeddings of a face encoder by name; without one, of the first.

        Raises `CorpusError` if there are none at all, `UsageError` for another name.
        """
        names = self.encoders
        if not names:
            raise CorpusError(
                f"{self.folder} has no embeddings: run vox2face data prepare --face "
                f"{encoder or 'NAME'}."
            )
        if encoder is not None and encoder not in names:
            raise UsageError(
                f"{self.folder} has no embeddings of {encoder}; it has those of "
                f"{', '.join(names)}: name one of them, or run vox2face data prepare --face "
                f"{encoder}."
            )
        return self.rows(f"embeddings/{encoder or names[0]}", "embeddings")

    def made_by(self, name: str | None) -> Mapping[str, Any]:
        """Return with which face encoder, and how, embeddings were made; raises as `faces` does."""
        self.faces(name)
        return self.settings(f"embeddings/{name or self.encoders[0]}")

    def encoder(self, name: str | None = None, device: str = "cpu") -> FaceEncoder:
        """Load a face encoder with the preprocessing that the embeddings were made with."""
        from vox2face.runtime.face_encoder import FaceEncoder
        from vox2face.runtime.load import load_kind

        settings = self.made_by(name)
        return load_kind(FaceEncoder, settings["face"], preset=settings["preset"], device=device)

    def space(self, name: str | None = None) -> Space:
        """Return the space of a face encoder's embeddings; its weights' digest only if at hand."""
        from vox2face.runtime import resolve
        from vox2face.store import bundle, hub

        settings = self.made_by(name)
        face = settings["face"]
        try:
            found = hub.download(face, False) if hub.is_address(face) else resolve.existing(face)
        except Vox2FaceError:
            return Space(bundle.known_encoder(face), settings["preset"])
        same = found.config["files"][bundle.WEIGHTS]["sha256"] == settings["weights"]
        digest = found.space.digest if same else ""
        return Space(found.entry_name, settings["preset"], digest)

    @functools.cached_property
    def landmarks(self) -> Rows:
        """The 68 landmarks: `landmarks[row]` is float32 (68, 2), (x, y) in pixels of `picture`."""
        return self.rows("landmarks", "landmarks")

    def landmarks_of(self, row: int) -> NDArray[np.float32] | None:
        """Return the landmarks of a row in pixels of the file's own picture, or None.

        The file's picture is the photograph; see `picture` for the square cut of it.
        """
        from vox2face.train.prepare.crop import in_the_file

        if "landmarks" not in self.facts["stages"] or row not in self.landmarks:
            return None
        return in_the_file(self.landmarks[row], self.squares[row], self.sizes[row])

    @functools.cached_property
    def squares(self) -> Rows:
        """The squares that were cut: `squares[row]` is float64 (4,): centre, side, angle.

        All are in pixels of the file's picture; NaN where the picture was taken as a whole.
        """
        return self.rows("landmarks", "squares", gaps=True)

    @functools.cached_property
    def sizes(self) -> Rows:
        """The sizes of the files' pictures: `sizes[row]` is int32 (2,), width and height."""
        return self.rows("landmarks", "sizes")

    @functools.cached_property
    def textures(self) -> Rows:
        """The pictures warped to the mean landmarks: `textures[row]` is uint8 (224, 224, 3)."""
        return self.rows("textures", "textures")

    def picture(self, row: int) -> NDArray[np.uint8]:
        """Return the picture of a row as the landmarks count it, RGB uint8 (224, 224, 3).

        That is the square cut out around the face (`--crop`) or the whole picture resized. With
        the stage "pictures" it is read, otherwise made of the file again. Raises `ImageError`.
        """
        from vox2face.train.media import picture_at
        from vox2face.train.prepare.crop import stored

        if "pictures" in self.facts["stages"]:
            return self.pictures[row]
        square = self.squares[row] if self.facts["crop"] else None
        return stored(picture_at(self.file(row)), square)

    @functools.cached_property
    def pictures(self) -> Rows:
        """The pictures that `picture` returns, where they were stored."""
        return self.rows("pictures", "pictures")

    @functools.cached_property
    def mean_landmarks(self) -> NDArray[np.float32]:
        """The mean of the landmarks of the train split, float32 (68, 2)."""
        data = storage.read_bytes(storage.join(self.folder, MEAN))
        mean: NDArray[np.float32] = np.load(io.BytesIO(data))
        return mean

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """What statistics.json holds: `mean` and `std` of the filter bank, hours, levels."""
        found: dict[str, Any] = json.loads(
            storage.read_bytes(storage.join(self.folder, STATISTICS))
        )
        return found

    @functools.cached_property
    def durations(self) -> Rows:
        """The seconds of each recording: `durations[row]` is float64 ()."""
        return self.rows("voices", "durations")

    @property
    def has_waveforms(self) -> bool:
        """Whether the stage "audio" was asked for."""
        return "audio" in self.facts["stages"]

    def waveform(self, row: int, encoding: str = "") -> NDArray[np.float32]:
        """Return a decoded recording as `vox2face.media.audio.decode` does, not levelled.

        It is float32 (samples,), mono, 16 kHz, -1..1, and as loud as it was: presets differ in
        that. With `encoding` it is the copy that came out of that codec, as long as the original.
        Raises `CorpusError` without the stage "audio" or such copies, and for a recording that
        failed or has no samples.
        """
        rows = self.rows(f"coded/{encoding}", "starts") if encoding else self.starts
        shard, place = rows.find(row)
        if (encoding, shard) not in self._sound:
            opened = rows.opened(shard)
            near = not storage.is_remote(opened.place)
            samples = opened.array("samples") if near else None
            self._sound[encoding, shard] = opened, opened.array("starts"), samples
        opened, starts, samples = self._sound[encoding, shard]
        first = int(starts[place])
        end = int(starts[place + 1]) if place + 1 < len(starts) else opened.layout["samples"][1][0]
        if first == end:
            raise CorpusError(f"Row {row} of the manifest has no samples in {self.folder}.")
        pcm = opened.part("samples", first, end) if samples is None else samples[first:end]
        waveform = np.asarray(pcm).astype(np.float32)
        waveform /= FULL_SCALE
        return waveform

    @functools.cached_property
    def starts(self) -> Rows:
        """Where in its shard each recording begins, in samples."""
        return self.rows("audio", "starts")

    @functools.cached_property
    def _sound(self) -> dict[tuple[str, int], Any]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave what is mapped into memory behind: a copy opens it itself."""
        return {name: value for name, value in self.__dict__.items() if name != "_sound"}

    def file(self, row: int) -> str:
        """Return where the file of a row is."""
        line = self.manifest.table.slice(row, 1)
        return storage.join(line["root"][0].as_py(), line["path"][0].as_py())

    def settings(self, stage: str) -> Mapping[str, Any]:
        """Return what a stage was made with. Raises `CorpusError` without it."""
        if stage not in self.facts["stages"]:
            name, _, variant = stage.partition("/")
            option = f"--encode {variant}" if name == "coded" else f"--stages {name}"
            what = f"copies encoded as {variant}" if name == "coded" else name
            raise CorpusError(f"{self.folder} has no {what}: run vox2face data prepare {option}.")
        found: Mapping[str, Any] = self.facts["stages"][stage]
        return found

    def rows(self, stage: str, name: str, gaps: bool = False) -> Rows:
        """Return an array of a stage; `gaps` says that NaN means something in it."""
        settings = self.settings(stage)
        if (stage, name) not in self._rows:
            failing = set(settings["failing"])
            bad = frozenset(
                line["row"] for line in self.failures if not failing.isdisjoint(line["stages"])
            )
            folder = storage.join(self.folder, *stage.split("/"))
            numbers, size = self.numbers(settings["kind"]), settings["shard_rows"]
            self._rows[stage, name] = Rows(folder, name, numbers, size, bad, gaps)
        return self._rows[stage, name]

    @functools.cached_property
    def _rows(self) -> dict[tuple[str, str], Rows]:
        return {}

    def numbers(self, kind: str) -> NDArray[np.int64]:
        """Return the rows of a kind, "face" or "voice"."""
        from vox2face.train.corpus.manifest import rows_of

        return rows_of(self.manifest, kind)


def open_prepared(folder: storage.Place) -> Prepared:
    """Open what `vox2face data prepare` wrote: a folder or an address.

    Raises `CorpusError` for what is no such folder, is unfinished, or of another version.
    """
    from vox2face.train.corpus import manifest

    place = str(folder)
    if not storage.exists(storage.join(place, FILE)):
        raise CorpusError(
            f"{place} has no {FILE}: it is not a prepared corpus, or its preparation has not "
            "finished. Run vox2face data prepare, with the same options, to go on."
        )
    try:
        facts = json.loads(storage.read_bytes(storage.join(place, FILE)))
        version = facts["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{place}/{FILE} is damaged: run vox2face data prepare again.") from error
    if version != VERSION:
        raise CorpusError(
            f"{place} was prepared in version {version} of this layout; expected {VERSION}: "
            "prepare it again with vox2face data prepare --force."
        )
    return Prepared(place, manifest.read(storage.join(place, manifest.FILE)), facts)
