"""Read a corpus that `vox2face data prepare` has prepared: any row in constant time.

The folder holds

| file                              | what                                                         |
|-----------------------------------|--------------------------------------------------------------|
| manifest.parquet                  | the manifest; row numbers are those of it                    |
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
    """A prepared corpus. Rows are those of `manifest`, which is in the folder too.

    `facts` is the content of prepared.json. Stages that were not prepared raise `CorpusError`.
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
        """The names of the face encoders that have embeddings, in the order they were given."""
        return self._variants("embeddings")

    @property
    def encodings(self) -> list[str]:
        """The names of the codecs that have encoded copies of the recordings."""
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
        """Return the settings with which embeddings were made; raises as `faces` does."""
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
            bundle_ = hub.download(face, False) if hub.is_address(face) else resolve.existing(face)
        except Vox2FaceError:
            return Space(bundle.known_encoder(face), settings["preset"])
        unchanged = bundle_.config["files"][bundle.WEIGHTS]["sha256"] == settings["weights"]
        digest = bundle_.space.digest if unchanged else ""
        return Space(bundle_.entry_name, settings["preset"], digest)

    @functools.cached_property
    def landmarks(self) -> Rows:
        """The 68 landmarks: `landmarks[row]` is float32 (68, 2), (x, y) in pixels of `picture`."""
        return self.rows("landmarks", "landmarks")

    def landmarks_of(self, row: int) -> NDArray[np.float32] | None:
        """Return the landmarks of a row in pixels of the file's own picture, or None.

        The file's picture is the whole photograph; `picture` returns the crop.
        """
        from vox2face.train.prepare.crop import to_file_points

        if "landmarks" not in self.facts["stages"] or row not in self.landmarks:
            return None
        return to_file_points(self.landmarks[row], self.crop_boxes[row], self.sizes[row])

    @functools.cached_property
    def crop_boxes(self) -> Rows:
        """The crop boxes: `crop_boxes[row]` is float64 (4,): centre x and y, side, angle.

        All are in pixels of the file's picture; NaN where the whole picture is stored.
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
        """Return the picture of a row that `landmarks` refers to, RGB uint8 (224, 224, 3).

        That is the crop around the face (`--crop`) or the whole picture, resized. With
        the stage "pictures" it is read, otherwise made from the file. Raises `ImageError`.
        """
        from vox2face.train.media import read_picture
        from vox2face.train.prepare.crop import stored_picture

        if "pictures" in self.facts["stages"]:
            return self.pictures[row]
        crop_box = self.crop_boxes[row] if self.facts["crop"] else None
        return stored_picture(read_picture(self.file(row)), crop_box)

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
        content: dict[str, Any] = json.loads(
            storage.read_bytes(storage.join(self.folder, STATISTICS))
        )
        return content

    @functools.cached_property
    def durations(self) -> Rows:
        """The seconds of each recording: `durations[row]` is float64 ()."""
        return self.rows("voices", "durations")

    @property
    def has_waveforms(self) -> bool:
        """Whether the stage "audio" was prepared."""
        return "audio" in self.facts["stages"]

    def waveform(self, row: int, encoding: str = "") -> NDArray[np.float32]:
        """Return a decoded recording as `vox2face.media.audio.decode` does, not levelled.

        It is float32 (samples,), mono, 16 kHz, -1..1, at the level of the file: presets differ in
        that. With `encoding` it is the copy encoded with that codec, as long as the original.
        Raises `CorpusError` without the stage "audio" or such copies, and for a recording that
        failed or has no samples.
        """
        rows = self.rows(f"coded/{encoding}", "starts") if encoding else self.starts
        number, index = rows.locate(row)
        if (encoding, number) not in self._audio:
            shard = rows.shard(number)
            samples = None if storage.is_remote(shard.path) else shard.array("samples")
            self._audio[encoding, number] = shard, shard.array("starts"), samples
        shard, starts, samples = self._audio[encoding, number]
        first = int(starts[index])
        end = int(starts[index + 1]) if index + 1 < len(starts) else shard.layout["samples"][1][0]
        if first == end:
            raise CorpusError(f"Row {row} of the manifest has no samples in {self.folder}.")
        pcm = shard.part("samples", first, end) if samples is None else samples[first:end]
        waveform = np.asarray(pcm).astype(np.float32)
        waveform /= FULL_SCALE
        return waveform

    @functools.cached_property
    def starts(self) -> Rows:
        """The index of each recording's first sample in its shard: `starts[row]` is int64 ()."""
        return self.rows("audio", "starts")

    @functools.cached_property
    def _audio(self) -> dict[tuple[str, int], Any]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Drop the open shards: a copy opens its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_audio"}

    def file(self, row: int) -> str:
        """Return the path or address of a row's file."""
        line = self.manifest.table.slice(row, 1)
        return storage.join(line["root"][0].as_py(), line["path"][0].as_py())

    def settings(self, stage: str) -> Mapping[str, Any]:
        """Return the settings of a stage. Raises `CorpusError` if it was not prepared."""
        if stage not in self.facts["stages"]:
            name, _, variant = stage.partition("/")
            option = f"--encode {variant}" if name == "coded" else f"--stages {name}"
            what = f"copies encoded as {variant}" if name == "coded" else name
            raise CorpusError(f"{self.folder} has no {what}: run vox2face data prepare {option}.")
        settings: Mapping[str, Any] = self.facts["stages"][stage]
        return settings

    def rows(self, stage: str, name: str, gaps: bool = False) -> Rows:
        """Return an array of a stage; with `gaps` NaN is a valid value."""
        settings = self.settings(stage)
        if (stage, name) not in self._rows:
            failing = set(settings["failing"])
            failed = frozenset(
                line["row"] for line in self.failures if not failing.isdisjoint(line["stages"])
            )
            folder = storage.join(self.folder, *stage.split("/"))
            numbers, size = self.numbers(settings["kind"]), settings["shard_rows"]
            self._rows[stage, name] = Rows(folder, name, numbers, size, failed, gaps)
        return self._rows[stage, name]

    @functools.cached_property
    def _rows(self) -> dict[tuple[str, str], Rows]:
        return {}

    def numbers(self, kind: str) -> NDArray[np.int64]:
        """Return the rows of a kind, "face" or "voice"."""
        from vox2face.train.corpus.manifest import rows_of

        return rows_of(self.manifest, kind)


def open_prepared(folder: storage.PathOrUri) -> Prepared:
    """Open a prepared corpus: a folder or an address.

    Raises `CorpusError` if it is not such a folder, unfinished, or of another version.
    """
    from vox2face.train.corpus import manifest

    path = str(folder)
    if not storage.exists(storage.join(path, FILE)):
        raise CorpusError(
            f"{path} has no {FILE}: it is not a prepared corpus, or its preparation has not "
            "finished. Run vox2face data prepare, with the same options, to go on."
        )
    try:
        facts = json.loads(storage.read_bytes(storage.join(path, FILE)))
        version = facts["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{path}/{FILE} is damaged: run vox2face data prepare again.") from error
    if version != VERSION:
        raise CorpusError(
            f"{path} was prepared in version {version} of this layout; expected {VERSION}: "
            "prepare it again with vox2face data prepare --force."
        )
    return Prepared(path, manifest.read(storage.join(path, manifest.FILE)), facts)
