"""`vox2face data index`: what recordings and pictures there are, and whose they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vox2face.cli.options import Address, seed
from vox2face.core.errors import CorpusError, UsageError
from vox2face.core.files import require_possible

if TYPE_CHECKING:
    from vox2face.train.corpus.index import Index

PLACE = "DIR|ADDRESS"
SPLIT_FILE = "split.csv"


@click.command(name="index")
@click.argument("folder", required=False, metavar="[DIR|ADDRESS]")
@click.option(
    "--out", type=Address(), metavar="FILE.parquet|DIR", help="Default: manifest.parquet in FOLDER."
)
@click.option("--voxceleb1", metavar=PLACE, help="VoxCeleb1 as it unpacks.")
@click.option("--voxceleb2", metavar=PLACE, help="VoxCeleb2 as it unpacks.")
@click.option("--hq-voxceleb", metavar=PLACE, help="HQ-VoxCeleb, or SF2F's folder of faces.")
@click.option("--speech-to-face", metavar=PLACE, help="PERSON/audios and PERSON/images.")
@click.option("--voices", metavar=PLACE, help="Any recordings in folders named after people.")
@click.option("--faces", metavar=PLACE, help="Any pictures in folders named after people.")
@click.option("--vox1-meta", metavar="FILE", help="vox1_meta.csv, where it lies elsewhere.")
@click.option("--vox2-meta", metavar="FILE", help="full_vox2_meta.csv, where it lies elsewhere.")
@click.option(
    "--which",
    type=click.Choice(["masked_faces", "origin_faces"]),
    help="Which pictures of HQ-VoxCeleb. Default: the masked ones where there are any.",
)
@click.option(
    "--split",
    metavar="sf2f|stratified|none|FILE",
    help="Default: split.csv in FOLDER; else sf2f where all people are in VoxCeleb's metadata; "
    "else stratified by gender.",
)
@seed
@click.option("--fractions", default="0.8,0.1,0.1", metavar="TRAIN,VAL,TEST")
@click.option(
    "--keep",
    type=click.Choice(["joined", "all"]),
    help="Only people with voice and face, or all. Default: joined where both are there.",
)
@click.option("--allow-empty", is_flag=True, help="Do not leave out files of no bytes.")
@click.option("--force", is_flag=True, help="Replace a manifest that is there.")
def command(folder: str | None, out: str | None, force: bool, **given: Any) -> None:
    """Find recordings and pictures, join them by person, and write a manifest.

    FOLDER may hold VoxCeleb1, VoxCeleb2, HQ-VoxCeleb or a Speech-to-face tree, or several of
    them; the options name them one by one. Nothing on the disk is changed.
    """
    from vox2face.train import storage
    from vox2face.train.corpus import index, manifest

    split = given.pop("split")
    options = {name: given.pop(name) for name in ("seed", "keep", "allow_empty")}
    options["fractions"] = shares(given.pop("fractions"))
    if folder is not None:
        given |= inside(folder, given)
        listed = storage.join(folder, SPLIT_FILE)
        split = split or (listed if storage.exists(listed) else None)
    target = out or folder
    if target is None:
        raise UsageError("Nothing says where the manifest goes: name --out FILE.parquet.")
    if not target.endswith(".parquet"):
        target = storage.join(target, manifest.FILE)
    if storage.exists(target) and not force:
        raise UsageError(f"{target} exists already: add --force to replace it, or name --out.")
    told = f"{target.removesuffix('.parquet')}.summary.json"
    if not storage.is_remote(told):
        require_possible(Path(told))
    made = index.index(index.Sources(**given), index.Options(split=split, **options))
    manifest.write(made.manifest, target)
    full = {**made.manifest.info, "dropped": made.skipped.full(), "no split": made.without_split}
    text = json.dumps(full, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    storage.write_bytes(told, text.encode())
    tell(made)
    click.echo(f"Written to {target}; whatever was left out is listed in {told}")


def inside(folder: str, given: dict[str, Any]) -> dict[str, str]:
    """Return the corpora found in a folder, as options name them."""
    from vox2face.train.corpus.layouts import layouts_in
    from vox2face.train.corpus.skipped import Skipped
    from vox2face.train.corpus.tree import open_tree

    corpora = ("voxceleb1", "voxceleb2", "hq_voxceleb", "speech_to_face", "voices", "faces")
    if named := [name for name in corpora if given[name]]:
        option = named[0].replace("_", "-")
        raise UsageError(f"Give either a folder to look through ({folder}), or --{option}.")
    found = layouts_in(open_tree(folder, Skipped()))
    if not found:
        raise CorpusError(
            f"{folder} holds neither VoxCeleb1, VoxCeleb2, HQ-VoxCeleb nor a Speech-to-face tree: "
            "name folders of people with --voices and --faces."
        )
    return {name.replace("-", "_"): folder for name in found}


def tell(made: Index) -> None:
    """Print what was found, kept and left out."""
    summary = made.manifest.info["summary"]
    for source, counts in summary["found"].items():
        click.echo(f"Found in {source}: {listed(counts)}")
    click.echo(f"Kept: {listed(summary['kept'])}")
    if any(summary["splits"].values()):
        click.echo(f"People by split: {listed(summary['splits'])}")
    for reason, facts in summary["dropped"].items():
        counts = {name: facts[name] for name in ("people", "files") if name in facts}
        click.echo(f"Left out, {reason}: {listed(counts)}, such as {facts['examples'][0]}")
    if made.without_split:
        click.echo(f"Without a split: {len(made.without_split):,} people")


def listed(counts: dict[str, int]) -> str:
    """Return counts as words."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def shares(text: str) -> tuple[float, ...]:
    """Return the fractions of the three splits."""

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--fractions {text}: give three numbers such as 0.8,0.1,0.1.") from error
