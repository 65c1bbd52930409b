"""Indexing corpora: every layout, names in every form, splits, and what is wrong with a corpus."""

from __future__ import annotations

import io
import json
import subprocess
import unicodedata
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vox2face.core.errors import CorpusError, UsageError
from vox2face.core.files import RECORDINGS
from vox2face.train.corpus import index, manifest, names, splits, voxceleb_metadata

VOX1 = (
    "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n"
    "id10001\tA.J._Buckley\tm\tIreland\tdev\n"
    "id10002\tHarry_Connick_Jr\tm\tUSA\tdev\n"
)
FULL_VOX2 = (
    "Class_ID,Name,Sample_Num,Flag,Gender_x,VoxCeleb2ID,VGGFace2ID,Gender_y,Set\n"
    "n1,Beyoncé,10,1,f,id00012,n1,f,dev\n"
    "n2,Harry_Connick_Jr,10,1,m,id00015,n2,m,dev\n"
    "n3,Łukasz_Žižka,10,1,m,id00016,n3,m,test\n"
)
OFFICIAL_VOX2 = "VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \nid00012 ,n000012 ,f ,dev \n"


def write(root: Path, *paths: str, data: bytes = b"x") -> Path:
    for path in paths:
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return root


@pytest.fixture
def vox(tmp_path: Path) -> Path:
    """VoxCeleb1, VoxCeleb2 and HQ-VoxCeleb as they unpack on a Mac, in one folder."""
    write(tmp_path, "wav/id10001/abc/00001.wav", "wav/id10002/abc/00001.wav")
    write(tmp_path, "dev/aac/id00012/x/00001.m4a", "dev/aac/id00015/x/00002.m4a")
    write(tmp_path, "dev/aac/id00016/x/00001.m4a", "dev/aac/id00016/x/._00001.m4a")
    decomposed = unicodedata.normalize("NFD", "Beyoncé")
    write(tmp_path, "vox1/masked_faces/A.J._Buckley/1.jpg", f"vox2/masked_faces/{decomposed}/1.jpg")
    write(tmp_path, "vox2/masked_faces/Harry_Connick_Jr/1.jpg")
    write(tmp_path, "vox2/masked_faces/ukasz_ika/1.jpg", "vox2/masked_faces/Nobody/1.jpg")
    (tmp_path / "vox1_meta.csv").write_text(VOX1)
    (tmp_path / "full_vox2_meta.csv").write_text(FULL_VOX2)
    return tmp_path


def sources(root: Path) -> index.Sources:
    return index.Sources(voxceleb1=root, voxceleb2=root, hq_voxceleb=root)


def test_voices_and_faces_join_in_every_form_of_a_name(vox: Path) -> None:
    made = index.index(sources(vox))
    assert made.manifest.identities() == sorted(
        ["A.J._Buckley", "Beyoncé", "Harry_Connick_Jr", "Łukasz_Žižka"]
    )
    for name in made.manifest.identities():
        own = made.manifest.where(identity=name)
        assert {*own.column("kind")} == {"voice", "face"}
        assert all(Path(file).is_file() for file in own.files())  # names on disk stay as they are
    assert made.manifest.where(identity="Beyoncé").column("gender") == ["f", "f"]
    # one person for the name that both corpora have, with the recordings of both
    assert len(made.manifest.where(identity="Harry_Connick_Jr", kind="voice")) == 2


def test_whatever_is_left_out_is_counted_with_its_reason(vox: Path) -> None:
    write(vox, "dev/aac/id00012/x/00009.m4a", data=b"")
    made = index.index(sources(vox))
    dropped = made.manifest.info["summary"]["dropped"]
    assert dropped["name in no metadata"]["examples"] == ["Nobody"]
    assert dropped["empty file"]["files"] == 1
    assert dropped["hidden file"]["files"] == 1
    allowing = index.index(sources(vox), index.Options(allow_empty=True))
    assert len(allowing.manifest) == len(made.manifest) + 1


def test_a_form_that_fits_two_people_is_never_guessed() -> None:
    joined = names.join(["José", "Josè"], ["Jose", "José"])
    assert joined.names == {"José": "José"}
    assert set(joined.ambiguous["Jose"]) == {"José", "Josè"}


@pytest.mark.parametrize("given", ["beyonce", "BEYONCÉ", "Beyonc"])
def test_names_without_accents_case_or_letters_are_found(given: str) -> None:
    assert names.join(["Beyoncé", "Bea"], [given]).names[given] == "Beyoncé"


@pytest.mark.parametrize("given", ["Harry_Connick_Jr", "Harry_Connick_Jr_", "harry_connick_jr. "])
def test_names_whose_last_dot_windows_dropped_are_found(given: str) -> None:
    people = ["Harry_Connick_Jr.", "Harry_Connick_Jr.x", "Harry_Connick"]
    assert names.join(people, [given]).names == {given: "Harry_Connick_Jr."}
    assert names.join(["Łukasz_Jr."], ["ukasz_Jr"]).names == {"ukasz_Jr": "Łukasz_Jr."}


def test_a_tree_unpacked_on_windows_joins_with_the_metadata(vox: Path) -> None:
    (vox / "vox1_meta.csv").write_text(VOX1.replace("A.J._Buckley", "A.J._Buckley_Jr."))
    folder = zipfile.ZipFile._sanitize_windows_name("A.J._Buckley_Jr.", "/")
    (vox / "vox1/masked_faces/A.J._Buckley").rename(vox / "vox1/masked_faces" / folder)
    made = index.index(sources(vox))
    assert folder == "A.J._Buckley_Jr"
    assert made.manifest.where(identity="A.J._Buckley_Jr.").column("kind") == ["voice", "face"]


def empty_wav() -> bytes:
    """Return a WAV file of a header alone."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
    return file.getvalue()


@pytest.mark.parametrize("data", [b"", empty_wav(), bytes(8288)], ids=len)
@pytest.mark.parametrize("remote", [False, True], ids=["folder", "store"])
def test_a_recording_without_sound_hides_no_good_one(
    tmp_path: Path, data: bytes, remote: bool
) -> None:
    write(tmp_path, "Abe/1.wav", data=data)
    write(tmp_path, "Abe/1.m4a", "Abe/2.m4a", data=bytes(36_080))
    write(tmp_path, "Abe/2.wav", data=bytes(32_078))
    place = f"local://{tmp_path}" if remote else tmp_path
    made = index.index(index.Sources(voices=place), index.Options(allow_empty=True))
    assert made.manifest.column("path") == ["Abe/1.m4a", "Abe/2.wav"]


def test_recordings_are_of_every_kind_that_is_read(tmp_path: Path) -> None:
    write(tmp_path, *(f"Abe/{kind[1:]}{kind}" for kind in RECORDINGS), data=b"sound")
    made = index.index(index.Sources(voices=tmp_path), index.Options())
    assert made.manifest.column("path") == sorted(f"Abe/{kind[1:]}{kind}" for kind in RECORDINGS)


def test_splits_of_sf2f_are_rows_modulo_ten() -> None:
    first = splits.sf2f([f"a{i:04d}" for i in range(1251)])
    second = splits.sf2f([f"b{i:04d}" for i in range(6114)])
    assert [list(first.values()).count(s) for s in manifest.SPLITS] == [1001, 125, 125]
    assert [list(second.values()).count(s) for s in manifest.SPLITS] == [4892, 611, 611]
    twice = splits.sf2f([*"abcdefghi"], [*"zi"])
    assert twice["i"] == "test"  # the first corpus decides


def test_stratified_splits_have_exact_shares_of_each_gender() -> None:
    people = [f"p{i:03d}" for i in range(100)]
    genders = {name: "f" if i < 40 else "m" for i, name in enumerate(people)}
    split = splits.stratified(people, genders, (0.8, 0.1, 0.1), seed=1)
    for gender, sizes in (("f", (32, 4, 4)), ("m", (48, 6, 6))):
        own = [split[name] for name in people if genders[name] == gender]
        assert tuple(own.count(s) for s in manifest.SPLITS) == sizes
    assert split == splits.stratified(people[::-1], genders, (0.8, 0.1, 0.1), seed=1)
    assert split != splits.stratified(people, genders, (0.8, 0.1, 0.1), seed=2)


def test_metadata_is_read_with_any_delimiter_and_stray_blanks(tmp_path: Path) -> None:
    place = tmp_path / "vox2_meta.csv"
    place.write_text(OFFICIAL_VOX2)
    table = voxceleb_metadata.read(place, "voxceleb2")
    assert table.names is None
    place.write_text(FULL_VOX2.replace(",", "\t"))
    assert "Beyoncé" in (voxceleb_metadata.read(place, "voxceleb2").names or ())
    place.write_text("name;age\nme;5\n")
    with pytest.raises(CorpusError, match=r"vox2_meta\.csv"):
        voxceleb_metadata.read(place, "voxceleb2")


def test_metadata_without_names_is_told_apart_from_none(tmp_path: Path) -> None:
    write(tmp_path, "aac/id00012/x/1.m4a", "vox2/masked_faces/Me/1.jpg")
    with pytest.raises(CorpusError, match=r"no full_vox2_meta\.csv in or above"):
        index.index(sources_of_two(tmp_path))
    (tmp_path / "vox2_meta.csv").write_text(OFFICIAL_VOX2)
    with pytest.raises(CorpusError, match="has no names"):
        index.index(sources_of_two(tmp_path))
    alone = index.index(index.Sources(voxceleb2=tmp_path), index.Options(split="none"))
    assert alone.manifest.identities() == ["id00012"]  # without faces, ids will do


def sources_of_two(root: Path) -> index.Sources:
    return index.Sources(voxceleb2=root, hq_voxceleb=root)


def test_folders_of_people_join_by_their_names(tmp_path: Path) -> None:
    write(tmp_path / "v", "Ann/a.wav", "Zoë/deep/b.flac", "Only/c.wav")
    decomposed = unicodedata.normalize("NFD", "Zoë")
    write(tmp_path / "f", "Ann/1.png", f"{decomposed}/1.jpg", "Ann/notes.txt")
    made = index.index(index.Sources(voices=tmp_path / "v", faces=tmp_path / "f"))
    assert made.manifest.identities() == ["Ann", "Zoë"]
    everybody = index.index(
        index.Sources(voices=tmp_path / "v", faces=tmp_path / "f"), index.Options(keep="all")
    )
    assert "Only" in everybody.manifest.identities()


def test_a_tree_of_speech_to_face_is_read_with_its_mapping(tmp_path: Path) -> None:
    write(tmp_path, "Zoe/audios/1.wav", "Zoe/images/1.jpg")
    write(tmp_path, "Harry_Jr/audios/1.wav", "Harry_Jr/images/1.jpg")  # unpacked on Windows
    (tmp_path / "names.csv").write_text("folder,identity\nZoe,Zoë\nHarry_Jr.,Harry Jr.\n")
    made = index.index(index.Sources(speech_to_face=tmp_path))
    assert made.manifest.identities() == ["Harry Jr.", "Zoë"]


def test_links_in_a_circle_and_unreadable_folders_cost_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "v", "Ann/a.wav")
    (tmp_path / "v" / "Ann" / "again").symlink_to(tmp_path / "v", target_is_directory=True)
    made = index.index(index.Sources(voices=tmp_path / "v"))
    assert made.manifest.column("path") == ["Ann/a.wav"]
    assert any("link" in reason for reason in made.manifest.info["summary"]["dropped"])


def test_the_order_of_the_file_system_does_not_show(vox: Path) -> None:
    first = index.index(sources(vox)).manifest
    for path in sorted(vox.rglob("*.m4a"), reverse=True):  # written again in another order
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    assert index.index(sources(vox)).manifest.table.equals(first.table)


def test_the_command_writes_manifest_and_summary(
    vox: Path, inside: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = inside("data", "index", vox, "--split", "sf2f")
    assert done.returncode == 0 and "4 people" in done.stdout
    assert len(manifest.read(vox)) == len(index.index(sources(vox)).manifest)
    told = json.loads((vox / "manifest.summary.json").read_text())
    assert told["dropped"]["name in no metadata"]["names"] == ["Nobody"]
    again = inside("data", "index", vox)
    assert again.returncode != 0


def test_bad_requests_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to index"):
        index.index(index.Sources())
    with pytest.raises(CorpusError, match="There is no"):
        index.index(index.Sources(voices=tmp_path / "nowhere"))
    write(tmp_path, "v/Ann/a.wav")
    with pytest.raises(UsageError, match="no split 'third'"):
        index.index(index.Sources(voices=tmp_path / "v"), index.Options(split="third"))
