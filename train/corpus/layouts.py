"""Where recordings and pictures lie in the corpora, as they unpack.

| source         | recordings                        | pictures                                    |
|----------------|-----------------------------------|---------------------------------------------|
| voxceleb1      | .../id1NNNN/VIDEO/NNNNN.wav       |                                             |
| voxceleb2      | .../id0NNNN/VIDEO/NNNNN.m4a       |                                             |
| hq-voxceleb    |                                   | .../vox1 or vox2/masked_faces/NAME/N.jpg,   |
|                |                                   | origin_faces/..., normalized_faces/...      |
| speech-to-face | [train/]NAME/audios/...           | [train/]NAME/images/..., or NAME/N.jpg      |
| folders        | NAME/...                          | NAME/...                                    |

HQ-VoxCeleb's own pictures are normalised. Where normalized_faces lie beside them, as in our
synthetic corpora, these are, and the others are photographs.

The folders of ids or names may lie up to three levels down (dev/aac, wav, data/VoxCeleb/vox1 ...).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from vox2face.core.errors import CorpusError
from vox2face.core.files import PICTURES, RECORDINGS
from vox2face.train import storage
from vox2face.train.corpus.manifest import NORMALIZED, PHOTO
from vox2face.train.corpus.scan import Found
from vox2face.train.corpus.tree import UNREADABLE, Tree, quiet, with_suffix

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
    """Show no progress."""


def voxceleb(tree: Tree, corpus: str, step: Step = silent) -> Found:
    """Find the recordings of "voxceleb1" or "voxceleb2". Raises `CorpusError` if there are none."""
    pattern = IDS[corpus]
    bases = _descend(tree, lambda folders: any(map(pattern.fullmatch, folders)))
    if not bases:
        example = "id10001" if corpus == "voxceleb1" else "id00012"
        raise CorpusError(
            f"There are no recordings of {label(corpus)} in {tree.root}: expected are folders such "
            f"as {example}/VIDEO/00001.wav, or up to {DEPTH} levels down (wav, dev/aac ...)."
        )
    homes: dict[str, list[str]] = {}
    for base in bases:
        for name in tree.names(base)[0]:
            if pattern.fullmatch(name):
                homes.setdefault(name, []).append(base)
    found = Found(corpus, "voice", tree.root, corpus)
    for done, (speaker, own) in enumerate(sorted(homes.items()), 1):
        found.add(speaker, recordings(tree, [below(base, speaker) for base in own]))
        step(label(corpus), done, len(homes))
    return found


def label(corpus: str) -> str:
    """Return a corpus as its makers spell it."""
    return corpus.replace("voxceleb", "VoxCeleb")


def below(base: str, name: str) -> str:
    """Return the path of something in a folder of a tree."""
    return f"{base}/{name}" if base else name


def recordings(tree: Tree, homes: Iterable[str]) -> list[str]:
    """Return the recordings of a person's folders, each in one format only."""
    clips: dict[str, str] = {}
    for home in homes:
        own, others = with_suffix(tree.files(home), AUDIO_SET)
        for path in others:
            tree.tally.file(OTHER_FILE, path)
        start = len(home) + 1
        for path in own:
            clip = path[start : path.rfind(".")]
            if (there := clips.setdefault(clip, path)) is not path:
                clips[clip], worse = sorted(
                    (there, path), key=lambda each: (-tree.size(each), _format_of(each))
                )
                tree.tally.file(OTHER_FORMAT, worse)
    return list(clips.values())


def _format_of(path: str) -> int:
    """Return the place of a recording's format among `AUDIO`."""
    return AUDIO.index(path[path.rfind(".") + 1 :].lower())


def pictures(tree: Tree, home: str) -> list[str]:
    """Return the pictures below a folder."""
    own, others = with_suffix(tree.files(home), PICTURE_SET)
    for path in others:
        tree.tally.file(OTHER_FILE, path)
    return own


def _descend(tree: Tree, fits: Callable[[list[str]], bool]) -> list[str]:
    """Return the folders, down to `DEPTH` levels, whose folders are as wanted, the nearest only."""
    looking, found, level = quiet(tree), [], [""]
    for _ in range(DEPTH + 1):
        deeper = []
        for path in level:
            folders = looking.names(path)[0]
            if fits(folders):
                found.append(path)
            elif len(folders) <= MOST_BETWEEN:
                deeper += [below(path, name) for name in folders]
        level = deeper
    if looking is not tree:
        for path in looking.tally.paths[UNREADABLE]:
            tree.tally.file(UNREADABLE, path)
    return found


def hq_voxceleb(tree: Tree, which: str | None = None, step: Step = silent) -> list[Found]:
    """Find the pictures of HQ-VoxCeleb, for vox1 and vox2 each in a `Found`.

    `which` is "masked_faces" or "origin_faces"; None takes the masked ones where there are any.
    Raises `CorpusError` if there are none.
    """
    folders = _face_folders(tree)
    chosen: dict[str, list[str]] = {}
    for path in folders:
        chosen.setdefault(_part_of(tree, path), []).append(path)
    result = []
    for part, paths in sorted(chosen.items()):
        kinds = {_name_in(tree, path) for path in paths}
        wanted = which or next(kind for kind in FACES if kind in kinds)
        beside = list(_normalized_beside(tree, paths))
        roles = {wanted: PHOTO if beside else NORMALIZED, NORMALIZED_FACES: NORMALIZED}
        for name, role in roles.items():
            found = Found("hq-voxceleb", "face", tree.root, part, role)
            for path in (path for path in (*paths, *beside) if _name_in(tree, path) == name):
                _add_pictures(tree, path, found, step)
            result.append(found)
    if not any(found.keys for found in result):
        raise CorpusError(
            f"There are no pictures of HQ-VoxCeleb in {tree.root}: expected are "
            f"vox1/{which or FACES[0]}/NAME/1.jpg, vox2/{which or FACES[0]}/NAME/1.jpg or the like."
        )
    return [found for found in result if found.keys]


def _add_pictures(tree: Tree, path: str, found: Found, step: Step) -> None:
    """Add the pictures of all people in a folder of folders."""
    people = tree.names(path)[0]
    for done, name in enumerate(people, 1):
        found.add(name, pictures(tree, below(path, name)))
        step("pictures", done, len(people))


def _face_folders(tree: Tree) -> list[str]:
    """Return the folders of masked and of original faces, the root itself included."""
    if storage.name_of(tree.root) in FACES:
        return [""]
    above = _descend(tree, lambda folders: any(name in folders for name in FACES))
    looking = quiet(tree)
    return [below(p, name) for p in above for name in FACES if name in looking.names(p)[0]]


def _normalized_beside(tree: Tree, paths: Iterable[str]) -> Iterator[str]:
    """Yield the folders of normalised faces that lie beside some folders of faces."""
    looking = quiet(tree)
    for above in dict.fromkeys(path.rpartition("/")[0] for path in paths if path):
        if NORMALIZED_FACES in looking.names(above)[0]:
            yield below(above, NORMALIZED_FACES)


def _name_in(tree: Tree, path: str) -> str:
    """Return the name of a folder in a tree, that of the root for ""."""
    return storage.name_of(storage.join(tree.root, path) if path else tree.root)


def _part_of(tree: Tree, path: str) -> str:
    """Return which VoxCeleb's people a folder of faces shows, by its nearest folder that tells."""
    place = storage.join(tree.root, path) if path else tree.root
    for name in reversed(place.replace("\\", "/").split("/")):
        if match := re.fullmatch(r"vox(?:celeb)?([12])", name.lower()):
            return f"voxceleb{match[1]}"
    return ""


def folders(tree: Tree, kind: str, step: Step = silent) -> Found:
    """Find the files of one kind in folders named after people. Raises `CorpusError` if none."""
    found = Found("folders", kind, tree.root, role=PHOTO if kind == "face" else None)
    people = tree.names("")[0]
    for done, name in enumerate(people, 1):
        found.add(name, recordings(tree, [name]) if kind == "voice" else pictures(tree, name))
        step(f"{kind}s", done, len(people))
    if not found.keys:
        what = "recordings" if kind == "voice" else "pictures"
        raise CorpusError(
            f"There are no {what} in {tree.root}: expected a folder for each person, with "
            f"{what} in it."
        )
    return found


def speech_to_face(tree: Tree, step: Step = silent) -> list[Found]:
    """Find the media of a folder of Speech-to-face. Raises `CorpusError` if there are none.

    With the folders train, validation and test, their people have these splits.
    """
    voices = Found("speech-to-face", "voice", tree.root)
    faces = Found("speech-to-face", "face", tree.root, role=PHOTO)
    homes = list(_person_folders(tree))
    for done, (home, split) in enumerate(homes, 1):
        name = storage.name_of(home)
        voices.add(name, recordings(tree, [below(home, AUDIOS)]) if has(tree, home, AUDIOS) else [])
        faces.add(name, shown(tree, home))
        if split:
            for found in (voices, faces):
                found.splits.setdefault(name, split)
        step("Speech-to-face", done, len(homes))
    if not voices.keys and not faces.keys:
        raise CorpusError(
            f"There are no recordings or pictures in {tree.root}: expected are PERSON/{AUDIOS} and "
            f"PERSON/{IMAGES}. Embeddings and spectrograms alone make no manifest: "
            "vox2face.train.corpus.speech_to_face reads them."
        )
    return [found for found in (voices, faces) if found.keys]


def has(tree: Tree, home: str, folder: str) -> bool:
    """Whether a person has a folder."""
    return folder in quiet(tree).names(home)[0]


def shown(tree: Tree, home: str) -> list[str]:
    """Return the pictures of a person's folder, outside its recordings."""
    looking = quiet(tree).names(home)
    own, _ = with_suffix([below(home, name) for name in looking[1]], PICTURE_SET)
    for folder in looking[0]:
        if folder != AUDIOS:
            own += pictures(tree, below(home, folder))
    return own


def _person_folders(tree: Tree) -> Iterator[tuple[str, str]]:
    """Yield the folders of people, and their splits, "" without."""
    top = tree.names("")[0]
    if top and all(name in SPLIT_FOLDERS for name in top):
        for split in top:
            for name in tree.names(split)[0]:
                yield f"{split}/{name}", SPLIT_FOLDERS[split]
    else:
        for name in top:
            yield name, ""


def layouts_in(tree: Tree) -> list[str]:
    """Return which of the sources are in a folder, "folders" never."""
    found = [
        corpus
        for corpus, pattern in IDS.items()
        if _descend(tree, lambda names, ids=pattern: any(map(ids.fullmatch, names)))  # type: ignore[misc]
    ]
    if _face_folders(tree):
        found.append("hq-voxceleb")
    looking = quiet(tree)
    people = [home for home, _ in _person_folders(looking)][:MOST_BETWEEN]
    if any({AUDIOS, IMAGES} & set(looking.names(home)[0]) for home in people):
        found.append("speech-to-face")
    return found
