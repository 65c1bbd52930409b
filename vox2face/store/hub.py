"""Bundles on the Hugging Face hub: downloaded into its cache, uploaded in one commit.

The only module that imports huggingface_hub, whose token, cache, address (HF_ENDPOINT) and
proxies hold here too.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vox2face.core import extras
from vox2face.core.errors import BundleError, FetchError, UsageError, Vox2FaceError
from vox2face.core.files import BUNDLE_FILES, offline
from vox2face.core.version import __version__
from vox2face.store import bundle as bundles
from vox2face.store.bundle import CARD, CONFIG, ONNX, PARITY, WEIGHTS, Bundle
from vox2face.store.hub_errors import LOGIN, explained
from vox2face.zoo import registry

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

PREFIX = "hf:"
REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
EXAMPLE = '"hf:user/repo"'  # in the model card, where the name of the repository goes
MADE_BY_THE_HUB = {".gitattributes"}  # what a new repository holds


def is_address(name: str | os.PathLike[str]) -> bool:
    """Whether a name means a repository on the hub: "hf:user/repo" or "hf:user/repo@revision"."""
    return isinstance(name, str) and name.startswith(PREFIX)


def parse(address: str) -> tuple[str, str | None]:
    """Return repository and revision of an address; None is the main branch."""
    repo, at, revision = address.removeprefix(PREFIX).partition("@")
    if not REPO.fullmatch(repo) or (at and not revision):
        raise UsageError(
            f"{address} is not an address on the hub: write hf:USER/REPO or hf:USER/REPO@REVISION."
        )
    return repo, revision or None


def download(address: str, onnx: bool = False) -> Bundle:
    """Return the bundle of a repository, downloading what the cache of the hub lacks.

    Weights, with `onnx` also model.onnx if there is one, and config.json are fetched, all from
    one commit, and compared with the sha256 in config.json. Offline (`$VOX2FACE_OFFLINE` or
    `$HF_HUB_OFFLINE`) only the cache is looked at. Raises `BundleError` for what is not a bundle or
    is altered, `FetchError` for what cannot be had.
    """
    extras.require("hub", address)
    repo, revision = parse(address)
    folder = fetched(address, repo, CONFIG, revision).parent
    config = described(address, folder)
    wanted = {WEIGHTS, ONNX} & config["files"].keys() if onnx else {WEIGHTS}
    for name in sorted(wanted):
        fetched(address, repo, name, folder.name)  # the folder is named for the commit
    bundle = Bundle(folder, config, borrowed=True)
    if problems := bundle.altered(wanted):
        raise BundleError(
            f"{address}: {'; '.join(problems)}. Delete {folder.parents[1]} and load it again; if "
            "that does not help, the repository itself has been altered."
        )
    return bundle


def fetched(address: str, repo: str, file: str, revision: str | None) -> Path:
    """Return a file of a repository in the cache of the hub, downloading it if need be."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    cut_off = offline() or constants.HF_HUB_OFFLINE
    with explained(address, constants.ENDPOINT, repo), _silent_unless_watched():
        try:
            path = hf_hub_download(
                repo,
                file,
                revision=revision,
                library_name="vox2face",
                library_version=__version__,
                local_files_only=cut_off,
            )
        except LocalEntryNotFoundError as error:
            if not cut_off:
                raise
            raise FetchError(
                f"{file} of {address} is not in {constants.HF_HUB_CACHE} and downloads are "
                "forbidden: unset VOX2FACE_OFFLINE and HF_HUB_OFFLINE, or load it once online."
            ) from error
        except EntryNotFoundError as error:
            raise BundleError(
                f"{address} is not a bundle, as it lacks {file}: name a repository that "
                "'vox2face push' made."
            ) from error
    return Path(path)


@contextmanager
def _silent_unless_watched() -> Iterator[None]:
    """Show the progress bars of huggingface_hub on a terminal only, or as its variable says."""
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    if sys.stderr.isatty() or constants.HF_HUB_DISABLE_PROGRESS_BARS is not None:
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def described(address: str, folder: Path) -> dict[str, Any]:
    """Return the config.json of a downloaded bundle if this vox2face can load it."""
    name = _recorded_entry(folder / CONFIG)
    if name is None:
        raise BundleError(
            f"{address} is not a bundle, as its {CONFIG} is of another kind: name a repository "
            "that 'vox2face push' made."
        )
    try:
        config = bundles.read_config(folder)
        registry.entry(name)
    except BundleError as error:
        raise BundleError(f"{address}: {error}") from error
    except UsageError as error:
        raise BundleError(
            f"{address} holds {name}, which vox2face {__version__} does not know: install a "
            "version that has it."
        ) from error
    return config


def _recorded_entry(path: Path) -> str | None:
    """Return the registry name in a config.json; None if it is not one of a bundle."""
    try:
        config = json.loads(bundles.short_text(path))
        return str(config["entry"]) if "vox2face" in config else None
    except (BundleError, ValueError, KeyError, TypeError, RecursionError):
        return None


def push(
    bundle: Bundle,
    repo: str,
    *,
    private: bool = False,
    branch: str | None = None,
    permitted: bool = False,
    message: str | None = None,
    force: bool = False,
) -> str:
    """Upload the files of a bundle to a repository in one commit and return its address.

    The repository and the branch are made if there are none. `permitted` says that the user may
    redistribute weights whose licence does not let everybody. Without `force`, a repository that
    holds anything but a bundle of the same model is left as it is. Raises a `Vox2FaceError`, with
    nothing visible uploaded, if anything is wrong.
    """
    extras.require("hub", "vox2face push")
    if not REPO.fullmatch(repo):
        raise UsageError(f"{repo} is not a repository of the hub: name it as USER/REPO.")
    if offline():
        raise UsageError("VOX2FACE_OFFLINE forbids uploads: unset it.")
    require_intact(bundle)
    require_licence(bundle, permitted)
    from huggingface_hub import HfApi, get_token

    if not get_token():
        raise Vox2FaceError(f"An upload to {repo} needs your token for the hub: {LOGIN}.")
    api = HfApi(library_name="vox2face", library_version=__version__)
    with explained(repo, api.endpoint, repo), _silent_unless_watched():
        there = remote(api, repo, branch)
        _require_ours(api, there, bundle.entry_name, force)
        if there is None:
            api.create_repo(repo, private=private or None)
        elif private and not there.private:
            raise UsageError(
                f"{repo} exists and is public: make it private in its settings at "
                f"{api.endpoint}/{repo}/settings, or leave out --private."
            )
        if branch:
            api.create_branch(repo, branch=branch, exist_ok=True)
        commit(api, bundle, repo, branch, there, message)
    return f"{api.endpoint}/{repo}" + (f"/tree/{branch}" if branch else "")


def require_intact(bundle: Bundle) -> None:
    """Raise `BundleError` unless a bundle is complete and as it was written."""
    problems = bundle.altered()
    problems += [f"{n} is missing" for n in (PARITY, CARD) if not (bundle.path / n).is_file()]
    problems += [f"{n} belongs to no bundle" for n in bundle.config["files"].keys() - BUNDLE_FILES]
    if bundle.outdated_onnx and ONNX in bundle.config["files"]:
        problems.append(f"{ONNX} lacks the network's sigmoid, as vox2face 0.1.0 wrote it")
    if problems:
        raise BundleError(f"{bundle.path}: {'; '.join(problems)}. Convert again with --force.")


def require_licence(bundle: Bundle, permitted: bool) -> None:
    """Raise `UsageError` unless the weights may be redistributed."""
    licence = bundle.config.get("licence") or {}
    if permitted or licence.get("redistributable") is True:
        return
    raise UsageError(
        f"The licence of these weights, {licence.get('name', 'which is not recorded')} "
        f"({licence.get('url', 'no address is known')}), does not let everybody redistribute "
        "them: add --i-may-redistribute if you have checked that you may."
    )


def remote(api: HfApi, repo: str, branch: str | None) -> ModelInfo | None:
    """Return what the hub says about a repository at a branch, or at main if there is no such."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        return api.model_info(repo, revision=branch)
    except RevisionNotFoundError:
        return api.model_info(repo)
    except RepositoryNotFoundError:
        return None


def _require_ours(api: HfApi, there: ModelInfo | None, entry: str, force: bool) -> None:
    """Raise `UsageError` if a repository holds anything but a bundle of the same entry."""
    files = _remote_files(there) - MADE_BY_THE_HUB
    if there is None or not files or force:
        return
    holds = None
    if CONFIG in files:
        with tempfile.TemporaryDirectory() as folder:
            path = api.hf_hub_download(there.id, CONFIG, revision=there.sha, local_dir=folder)
            holds = _recorded_entry(Path(path))
    if holds != entry:
        raise UsageError(
            f"{there.id} holds {holds or 'files that are no bundle'}, not {entry}: choose another "
            "repository, or add --force to commit this bundle on top."
        )


def _remote_files(there: ModelInfo | None) -> set[str]:
    """Return the paths of all files of a repository."""
    return {file.rfilename for file in there.siblings or ()} if there else set()


def commit(
    api: HfApi,
    bundle: Bundle,
    repo: str,
    branch: str | None,
    there: ModelInfo | None,
    message: str | None,
) -> None:
    """Upload the bundle's files and take away those an earlier bundle had, in one commit."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    address = f'"{PREFIX}{repo}{f"@{branch}" if branch else ""}"'
    card = (bundle.path / CARD).read_text(encoding="utf-8").replace(EXAMPLE, address)
    files = {n: bundle.path / n for n in sorted({CONFIG, PARITY, *bundle.config["files"]})}
    stale = (_remote_files(there) & BUNDLE_FILES) - files.keys() - {CARD}
    api.create_commit(
        repo,
        [
            *(CommitOperationAdd(name, path) for name, path in files.items()),
            CommitOperationAdd(CARD, card.encode()),
            *(CommitOperationDelete(name) for name in sorted(stale)),
        ],
        commit_message=message or f"Upload {bundle.entry_name} with vox2face {__version__}",
        revision=branch,
        parent_commit=there.sha if there else None,
    )
