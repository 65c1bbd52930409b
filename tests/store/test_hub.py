"""Bundles go to a stand-in of the Hugging Face hub and come back, in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import hub_server
from helpers.hub_server import Hub
from helpers.paths import HELPERS, TESTS

import vox2face
from vox2face.converters.convert import convert
from vox2face.core.entry import Entry
from vox2face.core.errors import UsageError
from vox2face.runtime import resolve
from vox2face.store import bundle as bundles
from vox2face.store import hub as hubs
from vox2face.store.hub_errors import explained

NAME = "vggface.serengil"
REPO = "owner/faces"
ALL = {"README.md", "config.json", "model.onnx", "model.safetensors", "parity.json"}
HEAD = Path(vox2face.__file__).parent / "assets" / "head.png"
ALLOWED = "--i-may-redistribute"
Done = subprocess.CompletedProcess[str]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server.running() as hub:
        yield hub


class Command:
    """The command with a narrow network, talking to the stand-in."""

    def __init__(self, hub: Hub, folder: Path) -> None:
        self.environment = {
            **os.environ,
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(folder / "hf"),
            "HF_HUB_DISABLE_XET": "1",  # where hf_xet is installed nothing else is uploaded with
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_TOKEN": "hf_owner",
            "VOX2FACE_OFFLINE": "0",
            "PYTHONWARNINGS": "error::UserWarning",
            "PYTHONPATH": str(TESTS),
        }
        self.output = folder / "embeddings.npz"
        self.server: subprocess.Popen[str] | None = None

    def start(
        self, *arguments: object, stdin: int | None = None, **environment: str
    ) -> subprocess.Popen[str]:
        script = HELPERS / "hub_twin.py"
        return subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            env={**self.environment, **environment},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: object, **environment: str) -> Done:
        """Run a command in a process that stays; its client reads some variables on import."""
        if environment.keys() - {"HF_TOKEN", "VOX2FACE_OFFLINE"}:
            process = self.start(*arguments, **environment)
            out, err = process.communicate(timeout=200)
            code = process.returncode
        else:
            code, out, err = self.served([list(map(str, arguments)), environment])
        assert "Traceback" not in err
        return subprocess.CompletedProcess(arguments, code, out, err)

    def served(self, request: Any) -> Any:
        if self.server is None:
            self.server = self.start("--serve", stdin=subprocess.PIPE)
        assert self.server.stdin and self.server.stdout
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())

    def close(self) -> None:
        if self.server is not None:
            self.server.communicate(timeout=60)

    def embed(self, model: object, *more: str, **environment: str) -> np.ndarray:
        done = self("embed", HEAD, "--model", model, "--output", self.output, *more, **environment)
        assert done.returncode == 0 and "B/s" not in done.stderr, done.stderr  # nor a bar
        with np.load(self.output) as stored:
            values: np.ndarray = stored["embeddings"]
        return values

    def refused(self, *arguments: object, code: int = 1, **environment: str) -> str:
        """Run what must fail and return the one sentence it says."""
        done = self(*arguments, **environment)
        assert done.returncode == code and done.stdout == "", done.stderr
        (line,) = [x for x in done.stderr.splitlines() if x.startswith("Error: ")]
        assert done.stderr.splitlines()[-1] == line and line.endswith(".")
        return line

    def not_loaded(self, address: str, **environment: str) -> str:
        return self.refused("embed", HEAD, "--model", address, **environment)


@pytest.fixture
def command(hub: Hub, tmp_path: Path) -> Iterator[Command]:
    command = Command(hub, tmp_path)
    yield command
    command.close()


@pytest.fixture
def bundle(twin: Callable[[str], Entry], twin_file: Callable[[str], Path], tmp_path: Path) -> Path:
    return convert(twin(NAME), twin_file(NAME), tmp_path / "bundle").path


@pytest.fixture
def plain(twin: Callable[[str], Entry], twin_file: Callable[[str], Path], tmp_path: Path) -> Path:
    """A bundle without an ONNX file."""
    return convert(twin(NAME), twin_file(NAME), tmp_path / "plain", onnx=False).path


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.long
def test_a_bundle_goes_up_in_one_commit_and_comes_back_the_same(
    hub: Hub, command: Command, bundle: Path
) -> None:
    (bundle / "notes.txt").write_text("private")
    done = command("push", bundle, REPO, ALLOWED, "--message", "First faces", "--private")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{hub.address}/{REPO}\n" and done.stderr == ""
    assert hub.repos[REPO].messages == ["initial commit", "First faces"]
    assert hub.repos[REPO].private
    stored = hub.files(REPO)
    assert stored.keys() == {*ALL, ".gitattributes"}
    local = content(bundle)
    assert all(stored[name] == local[name] for name in ALL - {"README.md"})
    assert f'load("hf:{REPO}")' in stored["README.md"].decode()
    want = command.embed(bundle)
    assert np.array_equal(command.embed(f"hf:{REPO}"), want)
    assert not [request for request in hub.requests if request.endswith("/model.onnx")]
    by_onnx = command.embed(f"hf:{REPO}", "--backend", "onnx")
    np.testing.assert_allclose(by_onnx, want, rtol=0, atol=1e-5)
    checked = command("check", f"hf:{REPO}")
    assert checked.returncode == 0 and "PROVEN at 21 layers" in checked.stdout, checked.stderr


@pytest.mark.long
def test_a_second_load_needs_no_network(hub: Hub, command: Command, bundle: Path) -> None:
    first = hub.repo(REPO, content(bundle)).branches["main"]
    want = command.embed(f"hf:{REPO}@{first}")
    hub.requests.clear()
    assert np.array_equal(command.embed(f"hf:{REPO}@{first}"), want)
    assert hub.requests == []
    command.embed(f"hf:{REPO}")
    assert not [request for request in hub.requests if "cdn" in request]
    hub.requests.clear()
    for offline in ({"VOX2FACE_OFFLINE": "1"}, {"HF_HUB_OFFLINE": "1"}):
        assert np.array_equal(command.embed(f"hf:{REPO}", **offline), want)
    assert np.array_equal(command.embed(f"hf:{REPO}", HF_ENDPOINT="http://127.0.0.1:9"), want)
    assert hub.requests == []


@pytest.mark.long
def test_what_fetch_brings_from_the_hub_needs_no_network(
    hub: Hub, command: Command, plain: Path
) -> None:
    assert command("push", plain, REPO, ALLOWED).returncode == 0
    done = command("fetch", f"hf:{REPO}")
    assert done.returncode == 0 and f"hf:{REPO} is in the hub's cache: " in done.stdout
    assert command.embed(f"hf:{REPO}", VOX2FACE_OFFLINE="1").shape == (1, 256)


@pytest.mark.long
def test_offline_only_the_cache_is_looked_at(hub: Hub, command: Command, bundle: Path) -> None:
    hub.repo(REPO, content(bundle))
    for offline in ({"VOX2FACE_OFFLINE": "1"}, {"HF_HUB_OFFLINE": "1"}):
        said = command.not_loaded(f"hf:{REPO}", **offline)
        assert "config.json of hf:owner/faces is not in" in said and "VOX2FACE_OFFLINE" in said
    said = command.refused("push", bundle, REPO, ALLOWED, code=2, VOX2FACE_OFFLINE="1")
    assert "VOX2FACE_OFFLINE forbids uploads" in said
    said = command.refused("push", bundle, REPO, ALLOWED, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE" in said
    assert hub.requests == []


@pytest.mark.long
def test_a_cut_download_is_resumed(hub: Hub, command: Command, plain: Path) -> None:
    hub.repo(REPO, content(plain))
    hub.cuts = [1000, 100_000]
    assert np.array_equal(command.embed(f"hf:{REPO}"), command.embed(plain))
    assert len([request for request in hub.requests if "GET /cdn" in request]) == 3


@pytest.mark.long
def test_onnx_is_exported_beside_the_cache_of_the_hub(
    hub: Hub, command: Command, plain: Path, tmp_path: Path
) -> None:
    hub.repo(REPO, content(plain))
    by_onnx = command.embed(f"hf:{REPO}", "--backend", "onnx")
    np.testing.assert_allclose(by_onnx, command.embed(plain), rtol=0, atol=1e-5)
    assert not list((tmp_path / "hf").rglob("*.onnx"))
    digest = bundles.read(plain).config["files"]["model.safetensors"]["sha256"]
    file = tmp_path / "home" / "exports" / digest / "embedding.onnx"
    written = file.stat().st_mtime_ns
    assert np.array_equal(command.embed(f"hf:{REPO}", "--backend", "onnx"), by_onnx)
    assert file.stat().st_mtime_ns == written
    assert [path.name for path in file.parent.iterdir()] == ["embedding.onnx"]


@pytest.mark.long
def test_exported_gives_logits_too(
    plain: Path, twin: Callable[[str], Entry], registered: Callable[[Entry], None]
) -> None:
    import onnx

    registered(twin(NAME))
    paths = [resolve.exported(bundles.read(plain), logits=logits) for logits in (False, True)]
    assert [path.name for path in paths] == ["embedding.onnx", "logits.onnx"]
    outputs = [[o.name for o in onnx.load(path).graph.output] for path in paths]
    assert outputs == [["embedding"], ["embedding", "logits"]]
    assert bundles.read(plain).config["files"].keys() == {"model.safetensors"}


@pytest.mark.long
def test_export_takes_an_address(hub: Hub, command: Command, plain: Path, tmp_path: Path) -> None:
    hub.repo(REPO, content(plain))
    done = command("export", f"hf:{REPO}@main", "--output", tmp_path / "face.onnx")
    assert done.returncode == 0 and (tmp_path / "face.onnx").is_file(), done.stderr


@pytest.mark.long
def test_without_permission_by_the_licence_nothing_is_asked_of_the_hub(
    hub: Hub, command: Command, bundle: Path
) -> None:
    said = command.refused("push", bundle, REPO, code=2)
    for words in ("vgg-face-non-commercial", "robots.ox.ac.uk", ALLOWED):
        assert words in said
    alter_config(bundle, lambda config: config["licence"].pop("redistributable"))
    assert ALLOWED in command.refused("push", bundle, REPO, code=2)
    assert hub.requests == []
    alter_config(bundle, lambda config: config["licence"].update(redistributable=True))
    assert command("push", bundle, REPO).returncode == 0


def alter_config(folder: Path, change: Callable[[dict], object]) -> None:  # type: ignore[type-arg]
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.long
def test_altered_and_incomplete_bundles_stay_here(hub: Hub, command: Command, bundle: Path) -> None:
    (bundle / "parity.json").rename(bundle / "elsewhere.json")
    assert "parity.json is missing" in command.refused("push", bundle, REPO, ALLOWED)
    (bundle / "elsewhere.json").rename(bundle / "parity.json")
    spoil(bundle / "model.safetensors")
    said = command.refused("push", bundle, REPO, ALLOWED)
    assert "model.safetensors has changed" in said
    assert hub.requests == []


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.long
def test_another_push_changes_what_changed(hub: Hub, command: Command, bundle: Path) -> None:
    assert command("push", bundle, REPO, ALLOWED).returncode == 0
    assert command("push", bundle, REPO, ALLOWED).returncode == 0
    assert len(hub.repos[REPO].messages) == 2  # nothing changed, so there is no commit
    (bundle / "model.onnx").unlink()
    alter_config(bundle, lambda config: config["files"].pop("model.onnx"))
    uploads = [r for r in hub.requests if r.startswith("PUT")]
    done = command("push", bundle, REPO, ALLOWED)
    assert done.returncode == 0, done.stderr
    assert hub.files(REPO).keys() == {*ALL, ".gitattributes"} - {"model.onnx"}
    assert [r for r in hub.requests if r.startswith("PUT")] == uploads


@pytest.mark.long
def test_a_branch_is_made_and_loaded(hub: Hub, command: Command, plain: Path) -> None:
    done = command("push", plain, REPO, ALLOWED, "--revision", "tries/one")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{hub.address}/{REPO}/tree/tries/one\n"
    assert "config.json" not in hub.files(REPO)
    assert "config.json" in hub.files(REPO, "tries/one")
    assert command.embed(f"hf:{REPO}@tries/one").shape == (1, 256)
    assert "lacks config.json" in command.not_loaded(f"hf:{REPO}")
    assert "no such branch" in command.not_loaded(f"hf:{REPO}@nowhere")


@pytest.mark.long
@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config.json": b'{"vox2face": "9", "entry": "other.net"}'}, "holds other.net, not"),
        ({"config.json": b'{"model_type": "bert"}'}, "files that are no bundle"),
        ({"weights.bin": b"1"}, "files that are no bundle"),
    ],
)
def test_a_foreign_repository_is_not_overwritten(
    hub: Hub, command: Command, plain: Path, files: dict[str, bytes], words: str
) -> None:
    hub.repo(REPO, files)
    said = command.refused("push", plain, REPO, ALLOWED, code=2)
    assert words in said and "--force" in said
    assert hub.files(REPO) == files
    assert command("push", plain, REPO, ALLOWED, "--force").returncode == 0
    assert hub.files(REPO).keys() == {*files, *(ALL - {"model.onnx"})}


@pytest.mark.long
def test_a_public_repository_does_not_become_private_unnoticed(
    hub: Hub, command: Command, plain: Path
) -> None:
    hub.repo(REPO)
    said = command.refused("push", plain, REPO, ALLOWED, "--private", code=2)
    assert "exists and is public" in said
    assert "config.json" not in hub.files(REPO)


@pytest.mark.long
def test_what_the_hub_refuses_is_one_sentence(hub: Hub, command: Command, plain: Path) -> None:
    push = ("push", plain, REPO, ALLOWED)
    assert "hf auth login" in command.refused(*push, HF_TOKEN="")
    assert hub.requests == []
    said = command.refused(*push, HF_TOKEN="hf_wrong")
    assert "does not accept your token" in said and "hf auth login" in said
    said = command.refused(*push, HF_TOKEN="hf_reader")
    assert "does not permit" in said and "rights to write to owner/faces" in said
    hub.repo(REPO)
    assert "does not permit" in command.refused(*push, HF_TOKEN="hf_reader")
    assert "rights" in command.refused("push", plain, "somebody/faces", ALLOWED)
    for bad in ("faces", "a/b/c", "owner/", "https://hub/owner/faces", "owner/a--b", "owner/a.git"):
        assert "USER/REPO" in command.refused("push", plain, bad, ALLOWED, code=2)
    assert "already" in command.refused("push", f"hf:{REPO}", REPO, code=2)
    card = (plain / "README.md").read_text()
    (plain / "README.md").write_text(card.replace("license: other", "license: mine"))
    assert 'answered 400 ("license" must be one of' in command.refused(*push)
    (plain / "README.md").write_text(card)
    hub.broken = 500
    assert "answered 500 (out of order): try again" in command.refused(*push)
    assert hub.repos[REPO].messages == ["initial commit"]


@pytest.mark.long
def test_nobody_listening_is_one_sentence(command: Command, plain: Path) -> None:
    said = command.refused("push", plain, REPO, ALLOWED, HF_ENDPOINT="http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached" in said


@pytest.mark.long
def test_a_killed_upload_leaves_no_commit(hub: Hub, command: Command, plain: Path) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def upload() -> None:
        arrived.set()
        go_on.wait(60)

    hub.upload = upload
    process = command.start("push", plain, REPO, ALLOWED)
    assert arrived.wait(60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    go_on.set()
    assert hub.repos[REPO].messages == ["initial commit"]
    assert hub.files(REPO).keys() == {".gitattributes"}
    hub.upload = lambda: None
    assert command("push", plain, REPO, ALLOWED).returncode == 0
    assert command.embed(f"hf:{REPO}").shape == (1, 256)


@pytest.mark.long
def test_a_tampered_download_is_refused_every_time(
    hub: Hub, command: Command, bundle: Path
) -> None:
    stored = content(bundle)
    for name in ("model.safetensors", "model.onnx"):
        hub.served = {name: stored[name][:-1] + bytes([stored[name][-1] ^ 1])}
        hub.repo(f"owner/{name}", stored)
        for _ in range(2):
            said = command.refused(
                "embed", HEAD, "--model", f"hf:owner/{name}", "--backend", "onnx"
            )
            assert f"{name} has changed" in said and f"models--owner--{name}" in said
    hub.served = {"model.safetensors": b"short"}
    hub.repo(REPO, stored)
    assert "has 5 bytes" in command.not_loaded(f"hf:{REPO}")


@pytest.mark.long
def test_what_is_not_there_or_no_bundle_is_one_sentence(
    hub: Hub, command: Command, plain: Path
) -> None:
    for token in ("hf_owner", ""):
        said = command.not_loaded("hf:owner/nothing", HF_TOKEN=token)
        assert "no such repository" in said and "hf auth login" in said
    assert "does not accept your token" in command.not_loaded(f"hf:{REPO}", HF_TOKEN="hf_wrong")
    hub.repo(REPO, content(plain)).gated = True
    said = command.not_loaded(f"hf:{REPO}", HF_TOKEN="hf_else")
    assert "accept its terms" in said and f"{hub.address}/{REPO}" in said
    hub.repo(REPO, content(plain)).private = True
    assert "or it is private" in command.not_loaded(f"hf:{REPO}", HF_TOKEN="hf_else")
    hub.repo(REPO, {"config.json": b"{}"})
    assert "is of another kind" in command.not_loaded(f"hf:{REPO}")
    files = content(plain)
    hub.repo(REPO, {"config.json": files["config.json"]})
    assert "lacks model.safetensors" in command.not_loaded(f"hf:{REPO}")
    for change, words in (
        ({"entry": "vggface.next"}, "holds vggface.next, which"),
        ({"format": 2}, "has format 2"),
        ({"files": {}}, "is damaged"),
    ):
        config = {**json.loads(files["config.json"]), **change}
        hub.repo(REPO, {**files, "config.json": json.dumps(config).encode()})
        assert words in command.not_loaded(f"hf:{REPO}")
    said = command.not_loaded("hf:owner/other", HF_ENDPOINT=f"{hub.address}/nowhere")
    assert hub.address in said


@pytest.mark.parametrize(
    "address", ["hf:", "hf:faces", "hf:a/b/c", "hf:a/b@", "hf:../b", "hf:a/ b"]
)
def test_addresses_are_checked(address: str) -> None:
    with pytest.raises(UsageError, match=r"hf:USER/REPO@REVISION"):
        vox2face.load(address)


def test_addresses_name_repository_and_revision() -> None:
    assert hubs.parse("hf:a/b") == ("a/b", None)
    assert hubs.parse("hf:a/b.c@refs/pr/1") == ("a/b.c", "refs/pr/1")
    assert not hubs.is_address(Path("hf:a/b"))


def test_without_the_extra_the_command_to_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vox2face.core.extras.find_spec", lambda package: None)
    with pytest.raises(UsageError, match=r"pip install '\.\[hub\]'"):
        vox2face.load("hf:a/b")


def test_local_troubles_pass_as_they_are() -> None:
    with pytest.raises(FileNotFoundError), explained("hf:a/b", "http://hub", "a/b"):
        Path("/nowhere/at/all").read_bytes()
