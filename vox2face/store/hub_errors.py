"""What goes wrong with the Hugging Face hub, in one sentence each.

The kinds of errors are told by their names, which huggingface_hub has kept across the HTTP
libraries it has been built on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vox2face.core.errors import FetchError, UsageError, Vox2FaceError

LOGIN = "log in with 'hf auth login' or set HF_TOKEN"

NO_REPOSITORY = "{name} is not a repository of the hub: name it as USER/REPO."

# What cannot be had, by the name of the error. The first that fits is raised.
KINDS = {
    "GatedRepoError": "{name} is given only to those who accept its terms: do so at {url}, then "
    f"{LOGIN}.",
    "DisabledRepoError": "{name} has been disabled by the hub: see {url}.",
    "RevisionNotFoundError": "{name}: the repository has no such branch, tag or commit: see "
    "{url}/tree/main.",
    # the hub answers 401 or 404 for what it hides
    "RepositoryNotFoundError": "{name}: there is no such repository at {host}, or it is private: "
    f"check the name, or {LOGIN}.",
}

# What the hub does not do, by the HTTP status
STATUSES = {
    401: f"{{name}}: the hub does not accept your token: {LOGIN} anew.",
    403: "{name}: the hub does not permit this with your token ({said}): use a token that may "
    "write there.",
    412: "{name} was changed by somebody else meanwhile: look at it, try again.",
    429: "{name}: the hub refuses so many requests: wait a while, or log in.",
    507: "{name}: the hub has no room left for you ({said}).",
}


@contextmanager
def explained(name: str, host: str, repo: str) -> Iterator[None]:
    """Turn whatever huggingface_hub raises into a `Vox2FaceError` of one sentence.

    `name` is what the user wrote, `host` the hub's address, `repo` the repository's id. Errors
    of the local file system that name a file pass as they are.
    """
    try:
        yield
    except Vox2FaceError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename and error.errno:
            raise
        raise _translated(error, name, host, f"{host}/{repo}") from error


def _translated(error: BaseException, name: str, host: str, url: str) -> Vox2FaceError:
    """Return our error for one of huggingface_hub."""
    chain = list(_causes(error))
    kinds = {kind.__name__ for e in chain for kind in type(e).__mro__}
    status, said = answer(chain)
    facts = {"name": name, "host": host, "url": url, "said": said}
    if "HFValidationError" in kinds:
        return UsageError(NO_REPOSITORY.format(**facts))
    if sentence := next((KINDS[kind] for kind in KINDS if kind in kinds), ""):
        return FetchError(sentence.format(**facts))
    if status in STATUSES:
        return Vox2FaceError(STATUSES[status].format(**facts))
    if status:
        later = ": try again later" if status >= 500 else ""
        return FetchError(f"{name}: {host} answered {status} ({said}){later}.")
    last = chain[-1]
    reason = f"{type(last).__name__}: {' '.join(str(last).split())[:160]}"
    return FetchError(f"{name}: {host} cannot be reached or broke off ({reason}): try again later.")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what caused it, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__


def answer(chain: list[BaseException]) -> tuple[int | None, str]:
    """Return the HTTP status among errors, and what the server said with it."""
    for error in chain:
        if (response := getattr(error, "response", None)) is not None:
            said = " ".join(str(getattr(error, "server_message", None) or "").split())
            return int(response.status_code), said[:160].rstrip(".") or "no reason given"
    return None, ""
