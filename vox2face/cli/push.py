"""`vox2face push`: a bundle to the Hugging Face hub."""

from __future__ import annotations

from typing import Any

import click

from vox2face.core.errors import UsageError
from vox2face.runtime.resolve import existing
from vox2face.store import hub


@click.command(name="push")
@click.argument("bundle", metavar="NAME|DIR")
@click.argument("repo", metavar="USER/REPO")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option(
    "--revision", "branch", metavar="BRANCH", help="The branch to commit to. Default: main."
)
@click.option(
    "--i-may-redistribute",
    "permitted",
    is_flag=True,
    help="You have checked that you may pass on weights whose licence restricts it.",
)
@click.option("--message", metavar="M", help="The message of the commit.")
@click.option("--force", is_flag=True, help="Commit on top of what is not a bundle of this model.")
def command(bundle: str, repo: str, **options: Any) -> None:
    """Upload a bundle to the Hugging Face hub.

    The bundle's files, and no others, become one commit; the repository is made if there is
    none. Log in first with `hf auth login`, or set HF_TOKEN.
    """
    if hub.is_address(bundle):
        raise UsageError(f"{bundle} is on the hub already: name a folder or a registry name.")
    click.echo(hub.push(existing(bundle), repo, **options))
