"""Join people found in folders with VoxCeleb's metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vox2face.train.corpus import names
from vox2face.train.corpus.scan import Scan
from vox2face.train.corpus.skipped import Skipped
from vox2face.train.corpus.speech_to_face import read_names
from vox2face.train.corpus.voxceleb_metadata import Metadata

CORPORA = ("voxceleb1", "voxceleb2")

# Why people are left out.
NO_METADATA, NO_NAME = "id in no metadata", "name in no metadata"
TWO_NAMES, TWO_IDS = "id with two names in the metadata", "name of two ids in the metadata"
AMBIGUOUS = "name that may be several people"
NO_PICTURES, NO_RECORDINGS = "no pictures", "no recordings"


@dataclass
class KnownPeople:
    """The names that a scan may join with: of the metadata and of the scans before it."""

    people: set[str]
    skipped: Skipped
    mapping: Mapping[str, str]


def with_known_people(
    scans: Sequence[Scan], tables: Mapping[str, Metadata], skipped: Skipped
) -> Iterator[tuple[Scan, KnownPeople]]:
    """Yield each scan with the names known so far; `resolve` adds those of the scan to them."""
    people = {name for table in tables.values() for name in table.names or ()}
    for scan in scans:
        mapping = read_names(scan.root) if scan.source == "speech-to-face" else {}
        mapping = {names.exact(folder): name for folder, name in mapping.items()}
        yield scan, KnownPeople(people, skipped, mapping)


def resolve(scan: Scan, tables: Mapping[str, Metadata], known: KnownPeople) -> list[str | None]:
    """Return the name of each key of a scan; None for those left out, noted in `known.skipped`."""
    if scan.source in CORPORA:
        return _resolve_ids(scan, tables.get(scan.part), known)
    folder_of = names.join(known.mapping, scan.keys).names
    keys = [known.mapping[folder_of[key]] if key in folder_of else key for key in scan.keys]
    table = tables.get(scan.part)
    strict = scan.source == "hq-voxceleb" and bool(known.people)
    joined = names.join((table.names or ()) if table else known.people, keys)
    result: list[str | None] = []
    for key, count in zip(keys, scan.counts(), strict=True):
        name = joined.names.get(key)
        if name is None and key in joined.ambiguous:
            known.skipped.person(AMBIGUOUS, key, count)
        elif name is None and strict:
            known.skipped.person(NO_NAME, key, count)
        else:
            name = name or names.exact(key)
        result.append(name)
    known.people.update(name for name in result if name)
    return result


def _resolve_ids(scan: Scan, table: Metadata | None, known: KnownPeople) -> list[str | None]:
    """Return the names of a scan's ids, or the ids where there is no metadata."""
    if table is None:
        return list(scan.keys)
    names_by_id = table.by_id()
    ids: dict[str, set[str]] = {}
    for speaker, people in names_by_id.items():
        for person in people:
            ids.setdefault(person, set()).add(speaker)
    result: list[str | None] = []
    for key, count in zip(scan.keys, scan.counts(), strict=True):
        candidates = names_by_id.get(key, set())
        name: str | None = min(candidates) if len(candidates) == 1 else None
        if name is None:
            known.skipped.person(TWO_NAMES if candidates else NO_METADATA, key, count)
        elif len(ids[name]) > 1:
            known.skipped.person(TWO_IDS, f"{name} ({key})", count)
            name = None
        result.append(name)
    known.people.update(name for name in result if name)
    return result


def select_people(
    scans: Sequence[Scan], people: Sequence[Sequence[str | None]], keep: str, skipped: Skipped
) -> list[str]:
    """Return the names that the manifest keeps, sorted; `keep` is "joined" or "all"."""
    files: dict[str, dict[str, int]] = {"voice": {}, "face": {}}
    for scan, names_of_scan in zip(scans, people, strict=True):
        for name, count in zip(names_of_scan, scan.counts(), strict=True):
            if name is not None:
                files[scan.kind][name] = files[scan.kind].get(name, 0) + count
    voice, face = files["voice"], files["face"]
    if keep == "all":
        return sorted({*voice, *face})
    for name in voice.keys() - face.keys():
        skipped.person(NO_PICTURES, name, voice[name])
    for name in face.keys() - voice.keys():
        skipped.person(NO_RECORDINGS, name, face[name])
    return sorted(voice.keys() & face.keys())
