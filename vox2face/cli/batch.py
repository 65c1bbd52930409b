"""What `speech2face` and `face2face` share: many files in, one marked picture for each out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vox2face.cli.paths import Place
from vox2face.cli.reading import Reading
from vox2face.core.errors import UsageError, Vox2FaceError
from vox2face.core.files import PICTURES, require_possible, sha256

if TYPE_CHECKING:
    from vox2face.media.decoded_face import Face

FOLDER = "faces"
MODEL = "NAME|DIR|hf:USER/REPO"


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


any_space = click.option(
    "--any-space",
    is_flag=True,
    help="Let networks go together that were made for embeddings of different encoders, presets "
    "or weights.",
)


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that both commands share."""
    for option in reversed(
        (
            click.option("--decoder", required=True, metavar=MODEL, help="The face decoder."),
            click.option(
                "--backend",
                type=click.Choice(["torch", "onnx"]),
                default="torch",
                show_default=True,
            ),
            click.option(
                "--device",
                default="cpu",
                show_default=True,
                help="cpu, cuda or cuda:N; tensorrt with --backend onnx.",
            ),
            click.option(
                "--output",
                type=Place(),
                metavar="PATH",
                help="FILE.png for one picture, or a folder. Default: NAME.png here for one file, "
                f"the folder {FOLDER} for more.",
            ),
            click.option("--landmarks", is_flag=True, help="Draw the landmarks into the pictures."),
            click.option(
                "--no-marks",
                is_flag=True,
                help="Leave out the text fields that say that a picture is synthetic.",
            ),
            any_space,
            click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True),
            click.option(
                "--force",
                is_flag=True,
                help="Replace pictures that are there already, and try files again at which an "
                "earlier run was killed or crashed.",
            ),
        )
    ):
        function = option(function)
    return function


def plan(
    given: Sequence[Path],
    output: Path | None,
    suffixes: Sequence[str],
    together: bool = False,
    sheets: bool = False,
) -> list[Item]:
    """Return what becomes of files and folders; folders are walked and mirrored.

    With `together` everything below one argument becomes one picture, with `sheets` there are
    comparisons too. Raises `UsageError` for what does not exist or cannot be meant.
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
    done = [
        item
        if counts[item.target] == 1
        else Item(item.sources, item.target.with_name(f"{item.sources[0].name}.png"))
        for item in items
    ]
    return done


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


def carry_out(
    items: Sequence[Item],
    facts: dict[str, str],
    options: dict[str, Any],
    make: Callable[[Sequence[Item]], Iterator[tuple[Item, Face | Vox2FaceError]]],
    save: Callable[[Item, Face], None],
) -> Outcome:
    """Make and save the pictures that are not there yet; a bad file never ends the run.

    `facts` are the models and what else makes a picture what it is.
    """
    from vox2face.core.progress import Bars

    outcome, todo = Outcome(), []
    for item in items:
        if options["force"] or not finished(item, facts, options):
            todo.append(item)
        else:
            outcome.kept += 1
    bars, step = Bars(), options["batch_size"]
    try:
        for start in range(0, len(todo), step):
            bars.advance("faces", start, len(todo), " faces")
            for item, face in make(todo[start : start + step]):
                if isinstance(face, Vox2FaceError):
                    outcome.failures.append((item.sources[0], str(face)))
                    continue
                save(item, replace(face, made_by={**facts, "source": item.fingerprint}))
                outcome.written += 1
    finally:
        bars.close()
    return outcome


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


def reading(items: Sequence[Item], output: Path | None, force: bool) -> Reading:
    """Return what notes which file is read, in the folder that several pictures go into."""
    return Reading((output or Path(FOLDER)) if len(items) > 1 else None, force)
