"""List folders of this machine or of an object store; unusable files are counted."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable

from vox2face.core.errors import CorpusError
from vox2face.train import storage
from vox2face.train.corpus.skipped import Skipped

HIDDEN, LINK = "hidden file", "link in a circle or to nothing"
SPECIAL = "neither file nor folder"
NOT_UTF8, EMPTY, UNREADABLE = "name is not UTF-8", "empty file", "unreadable folder"
JUNK = ("__MACOSX",)  # beside the dot files, what macOS and Windows leave in archives
JUNK_FILES = ("Thumbs.db", "desktop.ini")
HEADER = 16_384  # bytes; a recording without sound is shorter (FFmpeg's empty FLAC has 8,288)

Names = tuple[list[str], list[str]]


class Tree:
    """A folder of this machine; names are sorted, so the order is the same on all file systems.

    A `path` is relative to `root`, with /; "" is the root itself.
    """

    def __init__(self, root: str, skipped: Skipped, allow_empty: bool = False) -> None:
        self.root, self.skipped, self.allow_empty = root, skipped, allow_empty

    def names(self, path: str) -> Names:
        """Return the names of the folders and of the files in a folder."""
        folders: list[str] = []
        files: list[str] = []
        try:
            with os.scandir(os.path.join(self.root, path)) as entries:
                for entry in entries:
                    name = entry.name
                    if (reason := self.unusable(entry)) is not None:
                        self.skipped.file(reason, f"{path}/{name}" if path else name)
                    elif entry.is_dir():
                        folders.append(name)
                    else:
                        files.append(name)
        except OSError:
            self.skipped.file(UNREADABLE, path or self.root)
            return [], []
        folders.sort()
        files.sort()
        return folders, files

    def unusable(self, entry: os.DirEntry[str]) -> str | None:
        """Return the reason for which an entry is left out; None if it is usable."""
        name = entry.name
        if name[0] == "." or name in JUNK or name in JUNK_FILES:
            return HIDDEN
        if not name.isascii() and not _is_utf8(name):
            return NOT_UTF8
        if entry.is_symlink() and _leads_nowhere(entry.path):
            return LINK
        if entry.is_dir():
            return None
        if not entry.is_file():
            return SPECIAL
        return EMPTY if not self.allow_empty and not entry.stat().st_size else None

    def size(self, path: str) -> int:
        """Return the size of a file in bytes, at most `HEADER`."""
        file = os.path.join(self.root, path)
        with storage.explained(file):
            return min(os.path.getsize(file), HEADER)

    def files(self, path: str) -> list[str]:
        """Return all files below a folder, each folder's own first."""
        files: list[str] = []
        pending = [path]
        while pending:
            folder = pending.pop()
            folders, names = self.names(folder)
            prefix = f"{folder}/" if folder else ""
            files += [prefix + name for name in names]
            pending += [prefix + name for name in reversed(folders)]
        return files


class StoreTree(Tree):
    """A folder of an object store, listed with one request: one for each folder takes hours."""

    def __init__(self, root: str, skipped: Skipped, allow_empty: bool = False) -> None:
        super().__init__(root, skipped, allow_empty)
        store, top = storage.filesystem(root)
        with storage.explained(root):
            files = store.find(top, detail=True)
        self.listed: dict[str, tuple[set[str], list[str]]] = defaultdict(lambda: (set(), []))
        self.small: dict[str, int] = {}
        start = len(top.rstrip("/")) + 1
        for full, facts in files.items():
            self.add(full[start:], facts.get("size"))

    def add(self, path: str, size: int | None) -> None:
        """Add a file and the folders above it to the list."""
        folder, _, name = path.rpartition("/")
        if not name:  # stores mark empty folders so
            return
        if any(p[:1] == "." or p in JUNK for p in path.split("/")) or name in JUNK_FILES:
            self.skipped.file(HIDDEN, path)
        elif size == 0 and not self.allow_empty:
            self.skipped.file(EMPTY, path)
        else:
            self.listed[folder][1].append(name)
            if size is not None and size < HEADER:
                self.small[path] = size
            while folder:
                folder, _, name = folder.rpartition("/")
                if name in self.listed[folder][0]:
                    break
                self.listed[folder][0].add(name)

    def names(self, path: str) -> Names:
        """Return the names of the folders and of the files in a folder."""
        if path not in self.listed:
            return [], []
        folders, files = self.listed[path]
        return sorted(folders), sorted(files)

    def size(self, path: str) -> int:
        """Return the size of a file in bytes, at most `HEADER`."""
        return self.small.get(path, HEADER)


def open_tree(path: storage.PathOrUri, skipped: Skipped, allow_empty: bool = False) -> Tree:
    """Open a folder. Raises `CorpusError` if it is not a folder or may not be read."""
    if storage.is_remote(path):
        return StoreTree(str(path).rstrip("/"), skipped, allow_empty)
    root = os.path.abspath(os.fspath(path))
    if not _is_utf8(root):
        raise CorpusError(f"The name of {root} is not UTF-8, which manifests are: rename it.")
    if os.path.exists(root) and not os.path.isdir(root):
        raise CorpusError(f"{root} is a file: name the folder of the corpus.")
    with storage.explained(root), os.scandir(root):
        return Tree(root, skipped, allow_empty)


def uncounted(tree: Tree) -> Tree:
    """Return the same tree without counting: it also lists empty files."""
    if isinstance(tree, StoreTree):
        return tree  # has counted while it was listed
    return Tree(tree.root, Skipped(), allow_empty=True)


def _is_utf8(name: str) -> bool:
    """Whether the bytes of a name are UTF-8; others cannot be put into a manifest."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _leads_nowhere(link: str) -> bool:
    """Whether a link leads to nothing, or to a folder that it lies in itself."""
    try:
        target = os.path.realpath(link, strict=True)
    except OSError:
        return True
    home = os.path.realpath(os.path.dirname(link))
    return os.path.isdir(target) and os.path.commonpath([target, home]) == target


def with_suffix(paths: Iterable[str], suffixes: frozenset[str]) -> tuple[list[str], list[str]]:
    """Return the paths that end in one of the suffixes, in any case, and the others."""
    matching: list[str] = []
    others: list[str] = []
    for path in paths:
        fits = path[path.rfind(".") + 1 :].lower() in suffixes
        (matching if fits else others).append(path)
    return matching, others
