"""Find recordings and pictures in the folders of the corpora as they unpack.

| source         | recordings                        | pictures                                    |
|----------------|-----------------------------------|---------------------------------------------|
| voxceleb1      | .../id1NNNN/VIDEO/NNNNN.wav       |                                             |
| voxceleb2      | .../id0NNNN/VIDEO/NNNNN.m4a       |                                             |
| hq-voxceleb    |                                   | .../vox1 or vox2/masked_faces/NAME/N.jpg,   |
|                |                                   | origin_faces/..., normalized_faces/...      |
| speech-to-face | [train/]NAME/audios/...           | [train/]NAME/images/..., or NAME/N.jpg      |
| folders        | NAME/...                          | NAME/...                                    |

HQ-VoxCeleb's own pictures are normalised. With normalized_faces beside them, as in our
synthetic corpora, only those are, and the others are photographs.

The folders of ids or names may be up to three levels down (dev/aac, wav, data/VoxCeleb/vox1 ...).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from vox2face.core.errors import CorpusError
from vox2face.core.files import PICTURES, RECORDINGS
from vox2face.train import storage
from vox2face.train.corpus.manifest import NORMALIZED, PHOTO
from vox2face.train.corpus.scan import Scan
from vox2face.train.corpus.tree import UNREADABLE, Tree, uncounted, with_suffix

AUDIO = tuple(suffix[1:] for suffix in RECORDINGS)
AUDIO_SET, PICTURE_SET = frozenset(AUDIO), frozenset(suffix[1:] for suffix in PICTURES)
IDS = {"voxceleb1": re.compile(r"id1\d{4}"), "voxceleb2": re.compile(r"id(?!1\d{4}$)\d{5,}")}
FACES = ("masked_faces", "origin_faces")
NORMALIZED_FACES = "normalized_faces"
SPLIT_FOLDERS = {"train": "train", "validation": "val", "val": "val", "test": "test"}
AUDIOS, IMAGES = "audios", "images"
DEPTH = 3
MOST_BETWEEN = 64  # folders a level above the ids has at most; more are people, not parts
OTHER_FORMAT, OTHER_FILE = "same clip in another format", "neither recording nor picture"

Step = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """Report no progress."""


def voxceleb(tree: Tree, corpus: str, step: Step = silent) -> Scan:
    """Find the recordings of "voxceleb1" or "voxceleb2". Raises `CorpusError` if there are none."""
    pattern = IDS[corpus]
    bases = _descend(tree, lambda folders: any(map(pattern.fullmatch, folders)))
    if not bases:
        example = "id10001" if corpus == "voxceleb1" else "id00012"
        raise CorpusError(
            f"There are no recordings of {label(corpus)} in {tree.root}: expected folders such "
            f"as {example}/VIDEO/00001.wav, or up to {DEPTH} levels down (wav, dev/aac ...)."
        )
    bases_of: dict[str, list[str]] = {}
    for base in bases:
        for name in tree.names(base)[0]:
            if pattern.fullmatch(name):
                bases_of.setdefault(name, []).append(base)
    scan = Scan(corpus, "voice", tree.root, corpus)
    for done, (speaker, speaker_bases) in enumerate(sorted(bases_of.items()), 1):
        scan.add(speaker, recordings(tree, [below(base, speaker) for base in speaker_bases]))
        step(label(corpus), done, len(bases_of))
    return scan


def label(corpus: str) -> str:
    """Return the name of a corpus as its authors write it: "VoxCeleb1"."""
    return corpus.replace("voxceleb", "VoxCeleb")


def below(base: str, name: str) -> str:
    """Join a folder of a tree and a name; `base` "" is the root."""
    return f"{base}/{name}" if base else name


def recordings(tree: Tree, folders: Iterable[str]) -> list[str]:
    """Return the recordings in a person's folders; the largest file of a clip in two formats."""
    clips: dict[str, str] = {}
    for folder in folders:
        audio_files, others = with_suffix(tree.files(folder), AUDIO_SET)
        for path in others:
            tree.skipped.file(OTHER_FILE, path)
        start = len(folder) + 1
        for path in audio_files:
            clip = path[start : path.rfind(".")]
            if (other := clips.setdefault(clip, path)) is not path:
                clips[clip], worse = sorted(
                    (other, path), key=lambda file: (-tree.size(file), _format_of(file))
                )
                tree.skipped.file(OTHER_FORMAT, worse)
    return list(clips.values())


def _format_of(path: str) -> int:
    """Return the index of a recording's format in `AUDIO`."""
    return AUDIO.index(path[path.rfind(".") + 1 :].lower())


def pictures(tree: Tree, folder: str) -> list[str]:
    """Return the paths of the pictures below a folder."""
    image_files, others = with_suffix(tree.files(folder), PICTURE_SET)
    for path in others:
        tree.skipped.file(OTHER_FILE, path)
    return image_files


def _descend(tree: Tree, fits: Callable[[list[str]], bool]) -> list[str]:
    """Return the nearest folders, down to `DEPTH` levels, whose sub-folders satisfy `fits`."""
    view, matches, level = uncounted(tree), [], [""]
    for _ in range(DEPTH + 1):
        deeper = []
        for path in level:
            folders = view.names(path)[0]
            if fits(folders):
                matches.append(path)
            elif len(folders) <= MOST_BETWEEN:
                deeper += [below(path, name) for name in folders]
        level = deeper
    if view is not tree:
        for path in view.skipped.paths[UNREADABLE]:
            tree.skipped.file(UNREADABLE, path)
    return matches


def hq_voxceleb(tree: Tree, which: str | None = None, step: Step = silent) -> list[Scan]:
    """Find the pictures of HQ-VoxCeleb, for vox1 and vox2 each in a `Scan`.

    `which` is "masked_faces" or "origin_faces"; None takes the masked ones where there are any.
    Raises `CorpusError` if there are none.
    """
    folders = _face_folders(tree)
    folders_of_part: dict[str, list[str]] = {}
    for path in folders:
        folders_of_part.setdefault(_part_of(tree, path), []).append(path)
    scans = []
    for part, paths in sorted(folders_of_part.items()):
        kinds = {_name_in(tree, path) for path in paths}
        photos = which or next(kind for kind in FACES if kind in kinds)
        beside = list(_normalized_beside(tree, paths))
        roles = {photos: PHOTO if beside else NORMALIZED, NORMALIZED_FACES: NORMALIZED}
        for name, role in roles.items():
            scan = Scan("hq-voxceleb", "face", tree.root, part, role)
            for path in (path for path in (*paths, *beside) if _name_in(tree, path) == name):
                _add_pictures(tree, path, scan, step)
            scans.append(scan)
    if not any(scan.keys for scan in scans):
        raise CorpusError(
            f"There are no pictures of HQ-VoxCeleb in {tree.root}: expected "
            f"vox1/{which or FACES[0]}/NAME/1.jpg, vox2/{which or FACES[0]}/NAME/1.jpg or the like."
        )
    return [scan for scan in scans if scan.keys]


def _add_pictures(tree: Tree, path: str, scan: Scan, step: Step) -> None:
    """Add the pictures of all people in a folder of folders."""
    people = tree.names(path)[0]
    for done, name in enumerate(people, 1):
        scan.add(name, pictures(tree, below(path, name)))
        step("pictures", done, len(people))


def _face_folders(tree: Tree) -> list[str]:
    """Return the folders of masked and of original faces, the root itself included."""
    if storage.name_of(tree.root) in FACES:
        return [""]
    parents = _descend(tree, lambda folders: any(name in folders for name in FACES))
    view = uncounted(tree)
    return [below(p, name) for p in parents for name in FACES if name in view.names(p)[0]]


def _normalized_beside(tree: Tree, paths: Iterable[str]) -> Iterator[str]:
    """Yield the folders of normalised faces beside folders of faces."""
    view = uncounted(tree)
    for above in dict.fromkeys(path.rpartition("/")[0] for path in paths if path):
        if NORMALIZED_FACES in view.names(above)[0]:
            yield below(above, NORMALIZED_FACES)


def _name_in(tree: Tree, path: str) -> str:
    """Return the name of a folder in a tree; "" is the root."""
    return storage.name_of(storage.join(tree.root, path) if path else tree.root)


def _part_of(tree: Tree, path: str) -> str:
    """Return "voxceleb1" or "voxceleb2" by the nearest folder above that names it, else ""."""
    full_path = storage.join(tree.root, path) if path else tree.root
    for name in reversed(full_path.replace("\\", "/").split("/")):
        if match := re.fullmatch(r"vox(?:celeb)?([12])", name.lower()):
            return f"voxceleb{match[1]}"
    return ""


def folders(tree: Tree, kind: str, step: Step = silent) -> Scan:
    """Find the files of one kind in folders named after people. Raises `CorpusError` if none."""
    scan = Scan("folders", kind, tree.root, role=PHOTO if kind == "face" else None)
    people = tree.names("")[0]
    for done, name in enumerate(people, 1):
        scan.add(name, recordings(tree, [name]) if kind == "voice" else pictures(tree, name))
        step(f"{kind}s", done, len(people))
    if not scan.keys:
        files = "recordings" if kind == "voice" else "pictures"
        raise CorpusError(
            f"There are no {files} in {tree.root}: expected a folder for each person, with "
            f"{files} in it."
        )
    return scan


def speech_to_face(tree: Tree, step: Step = silent) -> list[Scan]:
    """Find the media of a folder of Speech-to-face. Raises `CorpusError` if there are none.

    People in the folders train, validation and test get these splits.
    """
    voices = Scan("speech-to-face", "voice", tree.root)
    faces = Scan("speech-to-face", "face", tree.root, role=PHOTO)
    homes = list(_person_folders(tree))
    for done, (home, split) in enumerate(homes, 1):
        name = storage.name_of(home)
        voices.add(name, recordings(tree, [below(home, AUDIOS)]) if has(tree, home, AUDIOS) else [])
        faces.add(name, pictures_of_person(tree, home))
        if split:
            for scan in (voices, faces):
                scan.splits.setdefault(name, split)
        step("Speech-to-face", done, len(homes))
    if not voices.keys and not faces.keys:
        raise CorpusError(
            f"There are no recordings or pictures in {tree.root}: expected PERSON/{AUDIOS} and "
            f"PERSON/{IMAGES}. Embeddings and spectrograms alone make no manifest: "
            "vox2face.train.corpus.speech_to_face reads them."
        )
    return [scan for scan in (voices, faces) if scan.keys]


def has(tree: Tree, home: str, folder: str) -> bool:
    """Whether a person's folder has this sub-folder."""
    return folder in uncounted(tree).names(home)[0]


def pictures_of_person(tree: Tree, home: str) -> list[str]:
    """Return the pictures of a person's folder, its folder of recordings left out."""
    names = uncounted(tree).names(home)
    image_files, _ = with_suffix([below(home, name) for name in names[1]], PICTURE_SET)
    for folder in names[0]:
        if folder != AUDIOS:
            image_files += pictures(tree, below(home, folder))
    return image_files


def _person_folders(tree: Tree) -> Iterator[tuple[str, str]]:
    """Yield the folder and the split of each person; the split is "" where there is none."""
    top = tree.names("")[0]
    if top and all(name in SPLIT_FOLDERS for name in top):
        for split in top:
            for name in tree.names(split)[0]:
                yield f"{split}/{name}", SPLIT_FOLDERS[split]
    else:
        for name in top:
            yield name, ""


def layouts_in(tree: Tree) -> list[str]:
    """Return the sources that a folder holds, by their layouts; never "folders"."""
    sources = [
        corpus
        for corpus, pattern in IDS.items()
        if _descend(tree, lambda names, ids=pattern: any(map(ids.fullmatch, names)))  # type: ignore[misc]
    ]
    if _face_folders(tree):
        sources.append("hq-voxceleb")
    view = uncounted(tree)
    people = [home for home, _ in _person_folders(view)][:MOST_BETWEEN]
    if any({AUDIOS, IMAGES} & set(view.names(home)[0]) for home in people):
        sources.append("speech-to-face")
    return sources
