"""What `speech2face` and `face2face` share: many files in, one marked picture for each out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vox2face.cli.options import (
    MODEL,
    Place,
    added,
    any_space,
    backend,
    batch_size,
    device,
    provider_options,
)
from vox2face.cli.reading import Reading
from vox2face.core import progress
from vox2face.core.errors import UsageError, Vox2FaceError
from vox2face.core.files import PICTURES, require_possible, sha256
from vox2face.zoo.catalog import DEFAULT_DECODER

if TYPE_CHECKING:
    from vox2face.media.decoded_face import Face
    from vox2face.runtime.base import Loaded

FOLDER = "faces"
WHERE = ("backend", "device", "provider_options", "any_space")  # options of `from_zoo`


@dataclass(frozen=True)
class Item:
    """Files that become one picture, and where it goes."""

    sources: tuple[Path, ...]
    target: Path

    @property
    def sheet(self) -> Path:
        """Where the comparison goes."""
        return self.target.with_suffix(".compare.png")

    @property
    def fingerprint(self) -> str:
        """The first digits of a sha256 of all the files, by which a picture knows its source."""
        digests = "".join(sha256(path) for path in self.sources if path.is_file())
        return hashlib.sha256(digests.encode()).hexdigest()[:16]


@dataclass
class Outcome:
    """What became of the items."""

    written: int = 0
    kept: int = 0
    failures: list[tuple[Path, str]] = field(default_factory=list)


options = added(
    (
        click.option(
            "--decoder",
            default=DEFAULT_DECODER,
            show_default=True,
            metavar=MODEL,
            help="The face decoder. The default is a demo trained on synthetic people.",
        ),
        backend,
        device,
        provider_options,
        click.option(
            "--output",
            type=Place(),
            metavar="PATH",
            help="FILE.png for one picture, or a folder. Default: NAME.png here for one file "
            f"(NAME-face.png for a NAME.png), the folder {FOLDER} for more.",
        ),
        click.option("--landmarks", is_flag=True, help="Draw the landmarks into the pictures."),
        click.option(
            "--no-marks",
            is_flag=True,
            help="Leave out the text fields that say that a picture is synthetic.",
        ),
        any_space,
        batch_size,
        click.option(
            "--force",
            is_flag=True,
            help="Replace pictures that are there already, and try files again at which an earlier "
            "run was killed or crashed.",
        ),
    )
)


def plan(
    given: Sequence[Path],
    output: Path | None,
    suffixes: Sequence[str],
    together: bool = False,
    sheets: bool = False,
) -> list[Item]:
    """Return what becomes of files and folders; folders are walked and mirrored.

    With `together` everything below one argument becomes one picture, with `sheets` there are
    comparisons too. Raises `UsageError` for what does not exist or is not valid.
    """
    if output is not None and output.suffix.lower() in set(PICTURES) - {".png"}:
        raise UsageError(f"--output {output}: faces are saved as PNG, so name FILE.png.")
    found = [(root, source) for root in given for source in walked(root, suffixes)]
    alone = len(given) == 1 and (together or not given[0].is_dir())
    if output is not None and output.suffix.lower() == ".png":
        if not alone:
            raise UsageError(f"--output {output} is one picture: name a folder for several.")
        return checked([Item(tuple(source for _, source in found), output)], sheets)
    folder = output or Path("." if alone else FOLDER)
    if folder.is_file():
        raise UsageError(f"--output {folder} is a file: name a folder, or FILE.png.")
    if together:
        items = [
            Item(tuple(s for r, s in found if r == root), folder / f"{root.resolve().name}.png")
            for root in dict.fromkeys(given)
        ]
    else:
        items = distinct([Item((s,), folder / mirrored(r, s, len(given) > 1)) for r, s in found])
    if output is None and alone:  # photo.png becomes photo-face.png
        items = [replace(item, target=_beside_source(item)) for item in items]
    return checked(items, sheets)


def walked(root: Path, suffixes: Sequence[str]) -> Iterator[Path]:
    """Yield a file, or all files of some endings in a folder and below it, in order."""
    if not root.exists():
        raise UsageError(f"There is no {root}: check the path.")
    if not root.is_dir():
        yield root
        return
    files = [p for p in sorted(root.rglob("*")) if p.suffix.lower() in suffixes and p.is_file()]
    if not files:
        raise UsageError(f"{root} has no file that ends in {', '.join(suffixes)}.")
    yield from files


def mirrored(root: Path, source: Path, several: bool) -> Path:
    """Return where a file's picture goes, below the output folder."""
    if root == source:
        return Path(f"{source.stem}.png")
    place = source.relative_to(root).with_suffix(".png")
    return root.resolve().name / place if several else place


def distinct(items: Sequence[Item]) -> list[Item]:
    """Return items with distinct targets: where two would share one, the full name is kept."""
    counts = Counter(item.target for item in items)
    return [
        item
        if counts[item.target] == 1
        else Item(item.sources, item.target.with_name(f"{item.sources[0].name}.png"))
        for item in items
    ]


def _beside_source(item: Item) -> Path:
    """Return the target of an item, or another one where that is the file it is made from."""
    if item.target.resolve() not in [path.resolve() for path in item.sources]:
        return item.target
    return item.target.with_name(f"{item.target.stem}-face.png")


def checked(items: list[Item], sheets: bool) -> list[Item]:
    """Return the items.

    Raises `UsageError` if two share a target, one would replace what it is made from, or the file
    system does not take its name.
    """
    sources = {path.resolve() for item in items for path in item.sources}
    for item in items:
        for place in (item.target, item.sheet) if sheets else (item.target,):
            require_possible(place)
            if place.resolve() in sources:
                raise UsageError(f"{place} is one of the files given: choose another --output.")
    if doubled := [t for t, n in Counter(item.target for item in items).items() if n > 1]:
        names = [str(i.sources[0]) for i in items if i.target == doubled[0]]
        raise UsageError(f"{names[0]} and {names[1]} would both become {doubled[0]}: give one.")
    return items


def run(
    items: Sequence[Item],
    facts: dict[str, str],
    options: dict[str, Any],
    prepare: Callable[[Item, Reading], Any],
    draw: Callable[[list[Any]], list[Face]],
    sheet: Callable[[Item, Face], None] | None,
) -> None:
    """Make and save the pictures that are not there yet; a bad file never ends the run.

    `facts` are the models and what else makes a picture what it is. `prepare` makes of an item
    what `draw` makes a face of; `sheet` writes a comparison. Raises at the end if anything failed.
    """
    facts = {**facts, "drawn": "landmarks" if options["landmarks"] else ""}
    folder = (options["output"] or Path(FOLDER)) if len(items) > 1 else None
    reading = Reading(folder, options["force"])
    todo = [i for i in items if options["force"] or not finished(i, facts, options)]
    outcome, step = Outcome(kept=len(items) - len(todo)), options["batch_size"]
    for start in range(0, len(todo), step):
        progress.advance("faces", start, len(todo), " faces")
        ready: dict[Item, Any] = {}
        for item in todo[start : start + step]:
            try:
                ready[item] = prepare(item, reading)
            except Vox2FaceError as error:
                outcome.failures.append((item.sources[0], str(error)))
        for item, face in zip(ready, draw([*ready.values()]) if ready else (), strict=True):
            marked = replace(face, made_by={**facts, "source": item.fingerprint})
            if sheet:
                sheet(item, marked)
            marked.save(item.target, options["landmarks"], not options["no_marks"])
            outcome.written += 1
    progress.close()
    tell(outcome, items)


def tell_demo(*models: Loaded) -> None:
    """Say on stderr which of the models are demos that come with vox2face."""
    names = [model.entry.name for model in models if model.entry.source.finished]
    if names:
        click.echo(
            f"Demo models, trained on synthetic people: {', '.join(names)}. They show what the "
            "tools do, and tell nothing about real persons.",
            err=True,
        )


def finished(item: Item, facts: dict[str, str], options: dict[str, Any]) -> bool:
    """Whether a picture is there already, made of the same files by the same models.

    Anything else in its place is an error. Without marks a picture cannot tell, and is kept.
    """
    from vox2face.media.decoded_face import made_by

    if item.target.is_dir():
        raise UsageError(f"{item.target} is a folder: choose another --output.")
    if not item.target.exists():
        return False
    if not options["no_marks"] and made_by(item.target) != {**facts, "source": item.fingerprint}:
        raise UsageError(
            f"{item.target} exists and was made of something else, or with other models or "
            "options: choose another --output, or add --force to replace it."
        )
    return not options.get("compare") or item.sheet.exists()


def tell(outcome: Outcome, items: Sequence[Item]) -> None:
    """Print what was done; raise if anything failed."""
    if len(items) == 1 and outcome.failures:
        raise Vox2FaceError(outcome.failures[0][1])
    list_failures(outcome.failures)
    if len(items) == 1:
        done = "Written to" if outcome.written else "Already there:"
        click.echo(f"{done} {items[0].target}")
        return
    kept = f", {outcome.kept} were there already" if outcome.kept else ""
    click.echo(f"{outcome.written} faces written{kept}, {len(outcome.failures)} failed.")
    if outcome.failures:
        raise Vox2FaceError(
            f"{len(outcome.failures)} of {len(items)} could not be made; run the same command "
            "again to try only those."
        )


def list_failures(failures: Sequence[tuple[Path, str]]) -> None:
    """Print a line for each file that failed."""
    for path, reason in failures:
        words = reason if str(path) in reason else f"{path}: {reason}"
        click.echo(f"Failed: {' '.join(words.split())}", err=True)
