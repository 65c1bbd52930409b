"""Join people found in folders with VoxCeleb's metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vox2face.train.corpus import names
from vox2face.train.corpus.scan import Found
from vox2face.train.corpus.skipped import Tally
from vox2face.train.corpus.speech_to_face import read_names
from vox2face.train.corpus.voxceleb_metadata import Metadata

CORPORA = ("voxceleb1", "voxceleb2")

# Why people are left out.
NO_METADATA, NO_NAME = "id in no metadata", "name in no metadata"
TWO_NAMES, TWO_IDS = "id with two names in the metadata", "name of two ids in the metadata"
AMBIGUOUS = "name that may be several people"
NO_PICTURES, NO_RECORDINGS = "no pictures", "no recordings"


@dataclass
class Known:
    """Whom a source's people may be: those of the metadata and of the sources before it."""

    people: set[str]
    tally: Tally
    mapping: Mapping[str, str]


def growing(
    founds: Sequence[Found], tables: Mapping[str, Metadata], tally: Tally
) -> Iterator[tuple[Found, Known]]:
    """Yield each source with whom its people may be; the set grows as sources are resolved."""
    people = {name for table in tables.values() for name in table.names or ()}
    for found in founds:
        mapping = read_names(found.root) if found.source == "speech-to-face" else {}
        mapping = {names.exact(folder): name for folder, name in mapping.items()}
        yield found, Known(people, tally, mapping)


def resolve(found: Found, tables: Mapping[str, Metadata], known: Known) -> list[str | None]:
    """Return who each key of a source is; None for those left out, which are counted."""
    if found.source in CORPORA:
        return _resolve_ids(found, tables.get(found.part), known)
    listed = names.join(known.mapping, found.keys).names
    keys = [known.mapping[listed[key]] if key in listed else key for key in found.keys]
    own = tables.get(found.part)
    strict = found.source == "hq-voxceleb" and bool(known.people)
    joined = names.join((own.names or ()) if own else known.people, keys)
    result: list[str | None] = []
    for key, count in zip(keys, found.counts(), strict=True):
        name = joined.names.get(key)
        if name is None and key in joined.ambiguous:
            known.tally.person(AMBIGUOUS, key, count)
        elif name is None and strict:
            known.tally.person(NO_NAME, key, count)
        else:
            name = name or names.exact(key)
        result.append(name)
    known.people.update(name for name in result if name)
    return result


def _resolve_ids(found: Found, table: Metadata | None, known: Known) -> list[str | None]:
    """Return the names of ids, or the ids where no metadata has names."""
    if table is None:
        return list(found.keys)
    named = table.by_id()
    ids: dict[str, set[str]] = {}
    for speaker, called in named.items():
        for each in called:
            ids.setdefault(each, set()).add(speaker)
    result: list[str | None] = []
    for key, count in zip(found.keys, found.counts(), strict=True):
        own = named.get(key, set())
        name: str | None = min(own) if len(own) == 1 else None
        if name is None:
            known.tally.person(TWO_NAMES if own else NO_METADATA, key, count)
        elif len(ids[name]) > 1:
            known.tally.person(TWO_IDS, f"{name} ({key})", count)
            name = None
        result.append(name)
    known.people.update(name for name in result if name)
    return result


def kept_people(
    founds: Sequence[Found], people: Sequence[Sequence[str | None]], keep: str, tally: Tally
) -> list[str]:
    """Return whom the manifest is about, sorted."""
    files: dict[str, dict[str, int]] = {"voice": {}, "face": {}}
    for found, own in zip(founds, people, strict=True):
        for name, count in zip(own, found.counts(), strict=True):
            if name is not None:
                files[found.kind][name] = files[found.kind].get(name, 0) + count
    voice, face = files["voice"], files["face"]
    if keep == "all":
        return sorted({*voice, *face})
    for name in voice.keys() - face.keys():
        tally.person(NO_PICTURES, name, voice[name])
    for name in face.keys() - voice.keys():
        tally.person(NO_RECORDINGS, name, face[name])
    return sorted(voice.keys() & face.keys())
