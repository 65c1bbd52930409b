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
    """Whom a source's people may be: those of the metadata and of the sources before it."""

    people: set[str]
    skipped: Skipped
    mapping: Mapping[str, str]


def growing(
    scans: Sequence[Scan], tables: Mapping[str, Metadata], skipped: Skipped
) -> Iterator[tuple[Scan, KnownPeople]]:
    """Yield each source with whom its people may be; the set grows as sources are resolved."""
    people = {name for table in tables.values() for name in table.names or ()}
    for scan in scans:
        mapping = read_names(scan.root) if scan.source == "speech-to-face" else {}
        mapping = {names.exact(folder): name for folder, name in mapping.items()}
        yield scan, KnownPeople(people, skipped, mapping)


def resolve(scan: Scan, tables: Mapping[str, Metadata], known: KnownPeople) -> list[str | None]:
    """Return who each key of a source is; None for those left out, which are counted."""
    if scan.source in CORPORA:
        return _resolve_ids(scan, tables.get(scan.part), known)
    listed = names.join(known.mapping, scan.keys).names
    keys = [known.mapping[listed[key]] if key in listed else key for key in scan.keys]
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
    """Return the names of ids, or the ids where no metadata has names."""
    if table is None:
        return list(scan.keys)
    named = table.by_id()
    ids: dict[str, set[str]] = {}
    for speaker, called in named.items():
        for each in called:
            ids.setdefault(each, set()).add(speaker)
    result: list[str | None] = []
    for key, count in zip(scan.keys, scan.counts(), strict=True):
        people = named.get(key, set())
        name: str | None = min(people) if len(people) == 1 else None
        if name is None:
            known.skipped.person(TWO_NAMES if people else NO_METADATA, key, count)
        elif len(ids[name]) > 1:
            known.skipped.person(TWO_IDS, f"{name} ({key})", count)
            name = None
        result.append(name)
    known.people.update(name for name in result if name)
    return result


def kept_people(
    scans: Sequence[Scan], people: Sequence[Sequence[str | None]], keep: str, skipped: Skipped
) -> list[str]:
    """Return whom the manifest is about, sorted."""
    files: dict[str, dict[str, int]] = {"voice": {}, "face": {}}
    for scan, person_names in zip(scans, people, strict=True):
        for name, count in zip(person_names, scan.counts(), strict=True):
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
