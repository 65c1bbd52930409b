"""`vox2face data index`: from the folders of corpora to one manifest, people joined by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vox2face.core.errors import CorpusError, UsageError
from vox2face.core.extras import require
from vox2face.core.progress import Bars
from vox2face.train import storage
from vox2face.train.corpus import layouts, names, splits, voxceleb_metadata
from vox2face.train.corpus.join import CORPORA, growing, kept_people, resolve
from vox2face.train.corpus.manifest import SPLITS, Manifest, from_columns
from vox2face.train.corpus.scan import Found
from vox2face.train.corpus.skipped import Tally
from vox2face.train.corpus.tree import open_tree
from vox2face.train.corpus.voxceleb_metadata import Metadata

KEEP = ("joined", "all")
HOW = ("sf2f", "stratified", "none")


@dataclass(frozen=True)
class Sources:
    """Folders or addresses to index, and metadata where it does not lie in or near them.

    `which` is "masked_faces" or "origin_faces" of HQ-VoxCeleb; None prefers the masked ones.
    """

    voxceleb1: storage.Place | None = None
    voxceleb2: storage.Place | None = None
    hq_voxceleb: storage.Place | None = None
    speech_to_face: storage.Place | None = None
    voices: storage.Place | None = None
    faces: storage.Place | None = None
    vox1_meta: storage.Place | None = None
    vox2_meta: storage.Place | None = None
    which: str | None = None

    def folders(self) -> list[storage.Place]:
        """Return the folders of VoxCeleb and HQ-VoxCeleb that were given."""
        return [p for p in (self.voxceleb1, self.voxceleb2, self.hq_voxceleb) if p is not None]


@dataclass(frozen=True)
class Options:
    """How to index.

    `split` is "sf2f", "stratified", "none" or a file; None takes the folders train, validation
    and test of a Speech-to-face tree, else "sf2f" where all people are in VoxCeleb's metadata,
    else "stratified". `keep` is "joined" (people with voice and face) or "all"; None is "joined"
    where both were looked for. Empty files are left out unless `allow_empty`, which also saves
    looking at the size of each.
    """

    split: str | None = None
    fractions: Sequence[float] = splits.FRACTIONS
    seed: int = 0
    keep: str | None = None
    allow_empty: bool = False


@dataclass
class Index:
    """A manifest, and what was left out of it."""

    manifest: Manifest
    tally: Tally
    without_split: list[str]


def index(sources: Sources, options: Options | None = None) -> Index:
    """Walk corpora and return their manifest; every file and person left out is in the tally.

    Raises `CorpusError` where a source holds nothing of what it should, where metadata is
    missing or damaged, and where nobody is left; `UsageError` for options that are not valid.
    """
    require("data", "Indexing a corpus")
    options = checked(options or Options())
    tally, bars = Tally(), Bars()
    try:
        founds = walk(sources, tally, options.allow_empty, bars.advance)
    finally:
        bars.close()
    if not founds:
        raise UsageError("There is nothing to index: name the folder of at least one corpus.")
    tables = _load_metadata(sources, founds)
    people = [resolve(found, tables, known) for found, known in growing(founds, tables, tally)]
    keep = options.keep or ("joined" if {f.kind for f in founds} == {"voice", "face"} else "all")
    kept = kept_people(founds, people, keep, tally)
    if not kept:
        raise CorpusError(nobody(tally))
    how, split = divided(kept, founds, people, tables, options)
    manifest = _tabulated(founds, people, kept, split, genders(tables))
    info = {
        "summary": summary(founds, manifest, tally, split),
        "split": how,
        "metadata": {corpus: table.place for corpus, table in tables.items()},
    }
    without = [name for name in kept if name not in split]
    return Index(Manifest(manifest.table, info), tally, without)


def checked(options: Options) -> Options:
    """Return options that make sense."""
    splits.checked(options.fractions)
    if options.keep not in (None, *KEEP):
        raise UsageError(f"There is no keep={options.keep!r}: use {' or '.join(KEEP)}.")
    if options.split not in (None, *HOW) and not storage.exists(str(options.split)):
        raise UsageError(
            f"There is no split {options.split!r}, and no file of that name: use "
            f"{', '.join(HOW)} or a file of identities and splits."
        )
    return options


def walk(
    sources: Sources, tally: Tally, allow_empty: bool, step: Callable[[str, int, int], None]
) -> list[Found]:
    """Return what all sources hold, in an order of their own."""
    founds: list[Found] = []
    for corpus in CORPORA:
        if (place := getattr(sources, corpus)) is not None:
            founds.append(layouts.voxceleb(open_tree(place, tally, allow_empty), corpus, step))
    if sources.hq_voxceleb is not None:
        tree = open_tree(sources.hq_voxceleb, tally, allow_empty)
        founds += layouts.hq_voxceleb(tree, sources.which, step)
    if sources.speech_to_face is not None:
        tree = open_tree(sources.speech_to_face, tally, allow_empty)
        founds += layouts.speech_to_face(tree, step)
    for kind, place in (("voice", sources.voices), ("face", sources.faces)):
        if place is not None:
            founds.append(layouts.folders(open_tree(place, tally, allow_empty), kind, step))
    return founds


def _load_metadata(sources: Sources, founds: Sequence[Found]) -> dict[str, Metadata]:
    """Return the metadata of both corpora, where it is given or found.

    Raises `CorpusError` where ids have to be joined with names and no file says how.
    """
    found: dict[str, Metadata] = {}
    for corpus, given in zip(CORPORA, (sources.vox1_meta, sources.vox2_meta), strict=True):
        place = given if given is not None else voxceleb_metadata.find(corpus, sources.folders())
        if place is not None:
            found[corpus] = voxceleb_metadata.read(place, corpus)
    by_id = {f.part for f in founds if f.source in CORPORA}
    if any(f.source not in CORPORA for f in founds):
        for corpus in sorted(by_id):
            _require_names(corpus, found.get(corpus))
    return found


def _require_names(corpus: str, table: Metadata | None) -> None:
    """Raise `CorpusError` unless there is metadata with the names of a corpus's ids."""
    option, file = f"--vox{corpus[-1]}-meta", voxceleb_metadata.FILES[corpus][0]
    joining = f"The ids of {layouts.label(corpus)} join with faces by name"
    if table is None:
        raise CorpusError(
            f"{joining}, and there is no {file} in or above the folders given: put it there, or "
            f"name it with {option}."
        )
    if table.names is None:
        raise CorpusError(
            f"{joining}, and {table.place} has no names: {file} of the HQ-VoxCeleb repository has "
            f"them; put it beside the corpus or name it with {option}."
        )


def nobody(tally: Tally) -> str:
    """Return the sentence that says that nothing is left, and why."""
    reasons = [
        f"{entry.get('people', entry['files'])} {'people' if 'people' in entry else 'files'}: "
        f"{reason} (such as {entry['names'][0]})"
        for reason, entry in tally.full().items()
    ]
    return f"Nobody has both a voice and a face. Left out were {'; '.join(reasons) or 'none'}."


def genders(tables: Mapping[str, Metadata]) -> dict[str, str]:
    """Return the gender of people by name, the first corpus having precedence."""
    found: dict[str, str] = {}
    for table in tables.values():
        found = {**table.gender_of(), **found}
    return found


def divided(
    kept: Sequence[str],
    founds: Sequence[Found],
    people: Sequence[Sequence[str | None]],
    tables: Mapping[str, Metadata],
    options: Options,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return how people were divided into splits, and the split of each that has one."""
    rows = splits.sf2f(*(table.names or table.ids for table in tables.values()))
    folders = {
        name: found.splits[key]
        for found, own in zip(founds, people, strict=True)
        for key, name in zip(found.keys, own, strict=True)
        if name is not None and key in found.splits
    }
    how = options.split
    if how is None:
        how = "sf2f" if all(name in rows for name in kept) else "stratified"
        how = "folders" if folders else how
    if how == "none":
        return {"how": how}, {}
    if how == "stratified":
        split = splits.stratified(kept, genders(tables), options.fractions, options.seed)
        told = {"fractions": list(options.fractions), "seed": options.seed}
        return {"how": how, **told}, split
    if how == "sf2f" and not rows:
        raise UsageError(
            "The splits of SF2F are rows of VoxCeleb's metadata, and there is none: name it with "
            "--vox1-meta or --vox2-meta, or use --split stratified."
        )
    if how in ("sf2f", "folders"):
        given = rows if how == "sf2f" else folders
        return {"how": how}, {name: given[name] for name in kept if name in given}
    given = splits.listed(how)
    joined = names.join(kept, given)
    return {"how": "listed", "file": how}, {joined.names[n]: given[n] for n in joined.names}


def _tabulated(
    founds: Sequence[Found],
    people: Sequence[Sequence[str | None]],
    kept: Sequence[str],
    split: Mapping[str, str],
    gender: Mapping[str, str],
) -> Manifest:
    """Return the rows of the people kept, by name, voices first, in the order of the walk."""
    import pyarrow as pa

    number = {name: i for i, name in enumerate(kept)}
    order = sorted(range(len(founds)), key=lambda i: founds[i].kind != "voice")
    who, which, paths = [], [], []
    for i in order:
        codes = [number.get(name, -1) if name is not None else -1 for name in people[i]]
        own = np.asarray(codes, np.int32)[founds[i].people]
        who.append(own)
        which.append(np.full(len(own), i, np.int32))
        paths += founds[i].paths().chunks
    identity, source = np.concatenate(who), np.concatenate(which)
    rows = np.argsort(identity, kind="stable")
    rows = rows[np.searchsorted(identity[rows], 0) :]
    identity, source = identity[rows], source[rows]
    taken = pa.chunked_array(paths, pa.string()).take(pa.array(rows)).combine_chunks()
    return from_columns(
        {
            "identity": words(identity, kept),
            "kind": words(source, [f.kind for f in founds]),
            "role": words(source, [f.role for f in founds]),
            "source": words(source, [f.source for f in founds]),
            "split": words(identity, [split.get(name) for name in kept]),
            "gender": words(identity, [gender.get(name) for name in kept]),
            "root": words(source, [f.root for f in founds]),
            "path": taken,
        }
    )


def words(codes: Any, values: Sequence[str | None]) -> Any:
    """Return a column whose rows have the values at their codes."""
    import pyarrow as pa

    known = sorted({value for value in values if value is not None})
    place = np.array([known.index(v) if v is not None else -1 for v in values], np.int32)[codes]
    indices = pa.array(place, pa.int32(), mask=place < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(known, pa.string()))


def summary(
    founds: Sequence[Found], manifest: Manifest, tally: Tally, split: Mapping[str, str]
) -> dict[str, Any]:
    """Return what was found, kept and left out, in numbers and examples."""
    found: dict[str, dict[str, int]] = {}
    seen: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for one in founds:
        own = found.setdefault(one.source, {})
        what, who = ("recordings", "voices") if one.kind == "voice" else ("pictures", "faces")
        people = seen.setdefault((one.source, who), set())
        people.update((one.part, key) for key in one.keys)
        own[who], own[what] = len(people), own.get(what, 0) + len(one.codes)
    kinds = manifest.table["kind"].value_counts().to_pylist()
    counts = {entry["values"]: entry["counts"] for entry in kinds}
    names = manifest.identities()
    return {
        "found": found,
        "kept": {
            "people": len(names),
            "recordings": counts.get("voice", 0),
            "pictures": counts.get("face", 0),
        },
        "splits": {s: sum(split.get(name) == s for name in names) for s in SPLITS},
        "dropped": tally.summary(),
    }
