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
from vox2face.train.corpus.join import CORPORA, resolve, select_people, with_known_people
from vox2face.train.corpus.manifest import SPLITS, Manifest, from_columns
from vox2face.train.corpus.scan import Scan
from vox2face.train.corpus.skipped import Skipped
from vox2face.train.corpus.tree import open_tree
from vox2face.train.corpus.voxceleb_metadata import Metadata

KEEP = ("joined", "all")
HOW = ("sf2f", "stratified", "none")


@dataclass(frozen=True)
class Sources:
    """Folders or addresses to index, and metadata files that are not in or near them.

    `which` is "masked_faces" or "origin_faces" of HQ-VoxCeleb; None prefers the masked ones.
    """

    voxceleb1: storage.PathOrUri | None = None
    voxceleb2: storage.PathOrUri | None = None
    hq_voxceleb: storage.PathOrUri | None = None
    speech_to_face: storage.PathOrUri | None = None
    voices: storage.PathOrUri | None = None
    faces: storage.PathOrUri | None = None
    vox1_meta: storage.PathOrUri | None = None
    vox2_meta: storage.PathOrUri | None = None
    which: str | None = None

    def folders(self) -> list[storage.PathOrUri]:
        """Return the folders of VoxCeleb and HQ-VoxCeleb that were given."""
        return [p for p in (self.voxceleb1, self.voxceleb2, self.hq_voxceleb) if p is not None]


@dataclass(frozen=True)
class Options:
    """How to index.

    `split` is "sf2f", "stratified", "none" or a file; None takes the folders train, validation
    and test of a Speech-to-face tree, else "sf2f" where all people are in VoxCeleb's metadata,
    else "stratified". `keep` is "joined" (people with voice and face) or "all"; None is "joined"
    where both kinds are indexed. Empty files are left out unless `allow_empty`, which is faster
    since no file size is read.
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
    skipped: Skipped
    without_split: list[str]


def index(sources: Sources, options: Options | None = None) -> Index:
    """Walk corpora and return their manifest; what is left out is in `skipped`.

    Raises `CorpusError` where a source holds nothing of what it should, where metadata is
    missing or damaged, and where nobody is left; `UsageError` for options that are not valid.
    """
    require("data", "Indexing a corpus")
    options = check_options(options or Options())
    skipped, bars = Skipped(), Bars()
    try:
        scans = walk(sources, skipped, options.allow_empty, bars.advance)
    finally:
        bars.close()
    if not scans:
        raise UsageError("There is nothing to index: name the folder of at least one corpus.")
    tables = _load_metadata(sources, scans)
    people = [resolve(s, tables, known) for s, known in with_known_people(scans, tables, skipped)]
    keep = options.keep or ("joined" if {f.kind for f in scans} == {"voice", "face"} else "all")
    identities = select_people(scans, people, keep, skipped)
    if not identities:
        raise CorpusError(nobody_left_message(skipped))
    method, split = assign_splits(identities, scans, people, tables, options)
    manifest = _to_manifest(scans, people, identities, split, genders(tables))
    info = {
        "summary": summary(scans, manifest, skipped, split),
        "split": method,
        "metadata": {corpus: table.path for corpus, table in tables.items()},
    }
    unassigned = [name for name in identities if name not in split]
    return Index(Manifest(manifest.table, info), skipped, unassigned)


def check_options(options: Options) -> Options:
    """Return the options. Raises `UsageError` where one of them is not valid."""
    splits.check_fractions(options.fractions)
    if options.keep not in (None, *KEEP):
        raise UsageError(f"There is no keep={options.keep!r}: use {' or '.join(KEEP)}.")
    if options.split not in (None, *HOW) and not storage.exists(str(options.split)):
        raise UsageError(
            f"There is no split {options.split!r}, and no file of that name: use "
            f"{', '.join(HOW)} or a file of identities and splits."
        )
    return options


def walk(
    sources: Sources, skipped: Skipped, allow_empty: bool, step: Callable[[str, int, int], None]
) -> list[Scan]:
    """Scan all sources: VoxCeleb, HQ-VoxCeleb, Speech-to-face, folders of voices, of faces."""
    scans: list[Scan] = []
    for corpus in CORPORA:
        if (path := getattr(sources, corpus)) is not None:
            scans.append(layouts.voxceleb(open_tree(path, skipped, allow_empty), corpus, step))
    if sources.hq_voxceleb is not None:
        tree = open_tree(sources.hq_voxceleb, skipped, allow_empty)
        scans += layouts.hq_voxceleb(tree, sources.which, step)
    if sources.speech_to_face is not None:
        tree = open_tree(sources.speech_to_face, skipped, allow_empty)
        scans += layouts.speech_to_face(tree, step)
    for kind, path in (("voice", sources.voices), ("face", sources.faces)):
        if path is not None:
            scans.append(layouts.folders(open_tree(path, skipped, allow_empty), kind, step))
    return scans


def _load_metadata(sources: Sources, scans: Sequence[Scan]) -> dict[str, Metadata]:
    """Return the metadata of both corpora, where it is given or found.

    Raises `CorpusError` where ids have to be joined with names and no file says how.
    """
    tables: dict[str, Metadata] = {}
    for corpus, path in zip(CORPORA, (sources.vox1_meta, sources.vox2_meta), strict=True):
        file = path if path is not None else voxceleb_metadata.find(corpus, sources.folders())
        if file is not None:
            tables[corpus] = voxceleb_metadata.read(file, corpus)
    by_id = {scan.part for scan in scans if scan.source in CORPORA}
    if any(scan.source not in CORPORA for scan in scans):
        for corpus in sorted(by_id):
            _require_names(corpus, tables.get(corpus))
    return tables


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
            f"{joining}, and {table.path} has no names: {file} of the HQ-VoxCeleb repository has "
            f"them; put it beside the corpus or name it with {option}."
        )


def nobody_left_message(skipped: Skipped) -> str:
    """Return the message that nobody is left, with the reasons and an example of each."""
    reasons = [
        f"{entry.get('people', entry['files'])} {'people' if 'people' in entry else 'files'}: "
        f"{reason} (such as {entry['names'][0]})"
        for reason, entry in skipped.full().items()
    ]
    return f"Nobody has both a voice and a face. Left out were {'; '.join(reasons) or 'none'}."


def genders(tables: Mapping[str, Metadata]) -> dict[str, str]:
    """Return the gender of people by name, the first corpus having precedence."""
    by_name: dict[str, str] = {}
    for table in tables.values():
        by_name = {**table.gender_of(), **by_name}
    return by_name


def assign_splits(
    identities: Sequence[str],
    scans: Sequence[Scan],
    people: Sequence[Sequence[str | None]],
    tables: Mapping[str, Metadata],
    options: Options,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return how the splits were made, for the manifest's info, and the split of each name."""
    rows = splits.sf2f(*(table.names or table.ids for table in tables.values()))
    folders = {
        name: scan.splits[key]
        for scan, names_of_scan in zip(scans, people, strict=True)
        for key, name in zip(scan.keys, names_of_scan, strict=True)
        if name is not None and key in scan.splits
    }
    method = options.split
    if method is None:
        method = "sf2f" if all(name in rows for name in identities) else "stratified"
        method = "folders" if folders else method
    if method == "none":
        return {"how": method}, {}
    if method == "stratified":
        split = splits.stratified(identities, genders(tables), options.fractions, options.seed)
        settings = {"fractions": list(options.fractions), "seed": options.seed}
        return {"how": method, **settings}, split
    if method == "sf2f" and not rows:
        raise UsageError(
            "The splits of SF2F are rows of VoxCeleb's metadata, and there is none: name it with "
            "--vox1-meta or --vox2-meta, or use --split stratified."
        )
    if method in ("sf2f", "folders"):
        by_name = rows if method == "sf2f" else folders
        return {"how": method}, {name: by_name[name] for name in identities if name in by_name}
    by_name = splits.read_splits(method)
    joined = names.join(identities, by_name)
    return {"how": "listed", "file": method}, {joined.names[n]: by_name[n] for n in joined.names}


def _to_manifest(
    scans: Sequence[Scan],
    people: Sequence[Sequence[str | None]],
    identities: Sequence[str],
    split: Mapping[str, str],
    gender: Mapping[str, str],
) -> Manifest:
    """Return the rows of `identities`, by name, voices first, in the order of the scans."""
    import pyarrow as pa

    number = {name: i for i, name in enumerate(identities)}
    order = sorted(range(len(scans)), key=lambda i: scans[i].kind != "voice")
    who, which, paths = [], [], []
    for i in order:
        codes = [number.get(name, -1) if name is not None else -1 for name in people[i]]
        people_of_files = np.asarray(codes, np.int32)[scans[i].people]
        who.append(people_of_files)
        which.append(np.full(len(people_of_files), i, np.int32))
        paths += scans[i].paths().chunks
    identity, source = np.concatenate(who), np.concatenate(which)
    rows = np.argsort(identity, kind="stable")
    rows = rows[np.searchsorted(identity[rows], 0) :]
    identity, source = identity[rows], source[rows]
    path = pa.chunked_array(paths, pa.string()).take(pa.array(rows)).combine_chunks()
    return from_columns(
        {
            "identity": words(identity, identities),
            "kind": words(source, [f.kind for f in scans]),
            "role": words(source, [f.role for f in scans]),
            "source": words(source, [f.source for f in scans]),
            "split": words(identity, [split.get(name) for name in identities]),
            "gender": words(identity, [gender.get(name) for name in identities]),
            "root": words(source, [f.root for f in scans]),
            "path": path,
        }
    )


def words(codes: Any, values: Sequence[str | None]) -> Any:
    """Return a dictionary column, `values[code]` for each code (rows,); None is null."""
    import pyarrow as pa

    distinct = sorted({value for value in values if value is not None})
    index = np.array([distinct.index(v) if v is not None else -1 for v in values], np.int32)[codes]
    indices = pa.array(index, pa.int32(), mask=index < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(distinct, pa.string()))


def summary(
    scans: Sequence[Scan], manifest: Manifest, skipped: Skipped, split: Mapping[str, str]
) -> dict[str, Any]:
    """Return the counts of files and people found, kept and left out, with examples."""
    counts_by_source: dict[str, dict[str, int]] = {}
    keys_seen: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for scan in scans:
        of_source = counts_by_source.setdefault(scan.source, {})
        what, who = ("recordings", "voices") if scan.kind == "voice" else ("pictures", "faces")
        people = keys_seen.setdefault((scan.source, who), set())
        people.update((scan.part, key) for key in scan.keys)
        of_source[who] = len(people)
        of_source[what] = of_source.get(what, 0) + len(scan.codes)
    kinds = manifest.table["kind"].value_counts().to_pylist()
    counts = {entry["values"]: entry["counts"] for entry in kinds}
    identities = manifest.identities()
    return {
        "found": counts_by_source,
        "kept": {
            "people": len(identities),
            "recordings": counts.get("voice", 0),
            "pictures": counts.get("face", 0),
        },
        "splits": {s: sum(split.get(name) == s for name in identities) for s in SPLITS},
        "dropped": skipped.summary(),
    }
