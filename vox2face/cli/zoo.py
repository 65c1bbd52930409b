"""`vox2face zoo`: what models there are and what each needs."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import click

from vox2face.core.entry import OUTPUT_ACTIVATIONS, Entry
from vox2face.core.errors import UsageError
from vox2face.store.bundle import default_path, is_bundle
from vox2face.zoo.registry import entry, list_models

PINNED = "none is published; the first download is pinned"


@click.group(name="zoo")
def command() -> None:
    """List the models and what each one needs."""


@command.command("list")
@click.argument("pattern", default="*", required=False)
@click.option("--kind", metavar="K", help="Only this kind, such as face-encoder.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", is_flag=True, help="Print the page docs/zoo.md.")
def list_command(pattern: str, kind: str | None, as_json: bool, markdown: bool) -> None:
    """List all models, one a line, or those whose names fit PATTERN, such as 'vggface*'."""
    entries = [entry(name) for name in list_models(pattern, kind)]
    if not entries:
        raise UsageError(f"No model's name fits {pattern!r}: vox2face zoo list names all.")
    if markdown and as_json:
        raise click.UsageError("--json and --markdown are two forms: give one of them.")
    if markdown:
        from vox2face.cli.zoo_page import page

        click.echo(page(entries), nl=False)
        return
    if as_json:
        click.echo(json.dumps([facts(e) for e in entries], indent=2))
        return
    rows = [("NAME", "KIND", "OUTPUT", "PARAMETERS", "PRESET", "STATUS")]
    rows += [
        (
            e.name,
            e.kind,
            ", ".join(f"{s.name} {'x'.join(map(str, s.shape[1:]))}" for s in e.plain_outputs),
            f"{e.parameters:,}" if e.parameters else "",
            e.preprocess,
            status(e),
        )
        for e in entries
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())


@command.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str, as_json: bool) -> None:
    """Show all facts about the model NAME."""
    model = entry(name)
    if as_json:
        click.echo(json.dumps(facts(model), indent=2))
        return
    lines = {
        "name": model.name,
        "also": ", ".join(model.aliases),
        "what": model.summary,
        "kind": model.kind,
        "parameters": f"{model.parameters:,}" if model.parameters else "",
        "FLOPs": f"{model.flops / 1e9:.1f} G",
        "input": str(model.input),
        **{f"output {i}": str(spec) for i, spec in enumerate(model.outputs, start=1)},
        "preset": model.preprocess,
        "space": str(model.own_space) * bool(model.own_space.encoder),
        "ends": OUTPUT_ACTIVATIONS.get(model.output_activation, ""),
        "weights": "\n".join(model.source.urls),
        "published": model.source.repository,
        "sha256": model.source.sha256 or PINNED * bool(model.source.urls),
        "licence": f"{model.source.licence.name}\n{model.source.licence.url}\n"
        + model.source.licence.notice,
        "status": status(model),
        "parity": f"within {model.measured:g} of the largest activation, as measured at full size"
        * bool(model.measured),
        "tolerance": f"{model.rtol:g} of the largest activation",
        "note": model.note,
    }
    for key, value in lines.items():
        if not value:
            continue
        first, *rest = value.split("\n")
        click.echo(f"{key:<11} {first}")
        for line in rest:
            click.echo(f"{'':<11} {line}")


def status(model: Entry) -> str:
    """Say whether a model can be loaded at once, or what it needs."""
    if is_bundle(default_path(model)) and not model.source.finished:
        return "ready"
    if model.source.embedded:
        return "ready (comes with vox2face)"
    return f"needs: {model.command}" if model.command else "untrained: no weights are published"


def facts(model: Entry) -> dict[str, Any]:
    """Return an entry as plain data, without what is code."""
    plain = asdict(replace(model, architecture="", weight_map=""))
    del plain["architecture"], plain["weight_map"]
    return {**plain, "width": model.width, "ready": is_bundle(default_path(model))}
