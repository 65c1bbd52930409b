"""A stand-in for the Hugging Face hub: its HTTP interface, as far as bundles need it.

Repositories, branches, LFS uploads checked by sha256, commits, metadata checks, downloads with
redirects and ranges, and refusals with the status codes and headers of the hub.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

LFS = (".safetensors", ".onnx", ".bin")
LICENCES = {"mit", "apache-2.0", "bsd-3-clause", "cc-by-nc-4.0", "other", "unknown"}
TASKS = {"image-feature-extraction", "feature-extraction", "image-to-image"}
USERS = {"hf_owner": ("owner", "write"), "hf_reader": ("owner", "read"), "hf_else": ("x", "write")}
Files = dict[str, bytes]


class Refused(Exception):
    """An answer that is an error: status, message, and what X-Error-Code says."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass
class Repo:
    """A repository: files by commit, and the commit of every branch."""

    private: bool = False
    gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def add(self, branch: str, files: Files, message: str) -> str:
        """Make a commit of all files given and return its name."""
        listing = [(name, hashlib.sha1(body).hexdigest()) for name, body in sorted(files.items())]
        text = repr((len(self.commits), message, listing))
        oid = hashlib.sha1(text.encode()).hexdigest()
        self.commits[oid], self.branches[branch] = files, oid
        self.messages.append(message)
        return oid

    def at(self, revision: str) -> str:
        """Return the commit that a branch or a commit name means."""
        oid = self.branches.get(revision, revision)
        if oid not in self.commits:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return oid


class Hub:
    """What the stand-in holds and does.

    `objects` are uploaded LFS files by sha256; `served` replaces what is sent for a file name;
    `broken` answers every request with a status; `upload` is called with every LFS upload;
    `cuts` are numbers of bytes after which a download is cut. Large files are redirected to
    `store`, which the client must take for another host than `address`.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: Files = {}
        self.served: Files = {}
        self.broken: int | None = None
        self.upload: Callable[[], None] = lambda: None
        self.cuts: list[int] = []
        self.requests: list[str] = []
        self.address = self.store = ""

    def repo(self, name: str, files: Files | None = None) -> Repo:
        """Make a repository as the hub does, with files if there are any."""
        repo = self.repos[name] = Repo()
        repo.add("main", {".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")
        if files:
            repo.add("main", files, "files")
        return repo

    def files(self, name: str, branch: str = "main") -> Files:
        """Return the files of a branch."""
        return self.repos[name].commits[self.repos[name].branches[branch]]


@contextmanager
def running() -> Iterator[Hub]:
    """Serve a hub on a local port."""
    hub = Hub()
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    hub.store = f"http://localhost:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Server(ThreadingHTTPServer):
    """A server that takes it calmly when a client is killed."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One request; ROUTES says which method answers it."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {path}")
        try:
            body = self.body()
        except ConnectionError:  # the other side was killed
            self.close_connection = True
            return
        try:
            if self.hub.broken:
                raise Refused(self.hub.broken, "out of order")
            for method, pattern, function in ROUTES:
                if self.command in method and (match := re.fullmatch(pattern, path)):
                    given = {k: unquote(v) for k, v in match.groupdict().items() if v}
                    function(self, body, **given)
                    return
            raise Refused(404, "Sorry, we can't find the page you are looking for.")
        except Refused as refused:
            code = {"X-Error-Code": refused.code} if refused.code else {}
            headers = {"X-Error-Message": refused.message, **code}
            self.send(refused.status, {"error": refused.message}, headers)

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def log_message(self, *args: object) -> None:
        pass

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            if len(body) < length:
                raise ConnectionError
            return body
        parts = []
        while size := int(self.rfile.readline().strip() or b"-1", 16):
            if size < 0:
                raise ConnectionError
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def user(self) -> tuple[str, str] | None:
        """Return who asks and what the token permits; None for nobody in particular."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token:
            return None
        if token not in USERS:
            raise Refused(401, "Invalid credentials in Authorization header")
        return USERS[token]

    def readable(self, name: str) -> Repo:
        """Return a repository if the asker may see it."""
        user, repo = self.user(), self.hub.repos.get(name)
        owns = user is not None and name.startswith(f"{user[0]}/")
        if repo is None or (repo.private and not owns):
            raise Refused(404 if user else 401, "Repository not found", "RepoNotFound")
        if repo.gated and not owns:
            raise Refused(403 if user else 401, f"Access to {name} is restricted.", "GatedRepo")
        return repo

    def writable(self, name: str) -> Repo:
        self.require_rights(name)
        return self.readable(name)

    def require_rights(self, name: str) -> None:
        user = self.user()
        if user is None:
            raise Refused(401, "Invalid username or password.")
        if user[1] != "write" or not name.startswith(f"{user[0]}/"):
            raise Refused(403, f"You don't have the rights to write to {name}")

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        self.require_rights(name)
        if name in self.hub.repos:
            raise Refused(409, "You already created this model repo")
        repo = self.hub.repo(name)
        repo.private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.send(200, {"url": f"{self.hub.address}/{name}"})

    def info(self, body: bytes, name: str, revision: str | None = None) -> None:
        repo = self.readable(name)
        sha = repo.at(revision or "main")
        listing = [{"rfilename": path} for path in sorted(repo.commits[sha])]
        facts = {"id": name, "modelId": name, "sha": sha, "private": repo.private}
        self.send(200, {**facts, "siblings": listing, "tags": [], "downloads": 0})

    def branch(self, body: bytes, name: str, branch: str) -> None:
        repo = self.writable(name)
        if branch in repo.branches:
            raise Refused(409, "Reference already exists")
        repo.branches[branch] = repo.branches["main"]
        self.send(201, {})

    def preupload(self, body: bytes, name: str, revision: str) -> None:
        repo = self.writable(name)
        known = repo.commits[repo.at(revision)]
        self.send(
            200,
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(LFS) else "regular",
                        "shouldIgnore": False,
                        "oid": oid(file["path"], known.get(file["path"])),
                    }
                    for file in json.loads(body)["files"]
                ]
            },
        )

    def batch(self, body: bytes, name: str) -> None:
        self.writable(name)
        asked = json.loads(body)
        assert "basic" in asked["transfers"] and asked["operation"] == "upload"
        objects = []
        for thing in asked["objects"]:
            upload = {"upload": {"href": f"{self.hub.address}/lfs/{thing['oid']}"}}
            stored = thing["oid"] in self.hub.objects
            objects.append({**thing, **({} if stored else {"actions": upload})})
        self.send(200, {"transfer": "basic", "objects": objects})

    def put(self, body: bytes, oid: str) -> None:
        self.hub.upload()
        if hashlib.sha256(body).hexdigest() != oid:
            raise Refused(400, "The content does not match its sha256")
        self.hub.objects[oid] = body
        self.send(200, b"", {"ETag": f'"{oid}"'})

    def commit(self, body: bytes, name: str, revision: str) -> None:
        repo = self.writable(name)
        lines = [json.loads(line) for line in body.splitlines()]
        files = dict(repo.commits[repo.at(revision)])
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, repo.branches[revision]):
            raise Refused(412, "The branch has moved since")
        for line in lines[1:]:
            path, value = line["value"]["path"], line["value"]
            if line["key"] == "file":
                files[path] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise Refused(400, f"LFS object {value['oid']} was not uploaded")
                files[path] = self.hub.objects[value["oid"]]
            else:
                del files[path]
        made = repo.add(revision, files, header["summary"])
        url = f"{self.hub.address}/{name}/commit/{made}"
        self.send(200, {"success": True, "commitOid": made, "commitUrl": url})

    def check_card(self, body: bytes) -> None:
        problems = card_problems(json.loads(body)["content"])
        errors = [{"message": problem} for problem in problems]
        self.send(400 if errors else 200, {"errors": errors, "warnings": []})

    def resolve(self, body: bytes, name: str, revision: str, path: str) -> None:
        repo = self.readable(name)
        commit = repo.at(revision)
        content = self.hub.served.get(path, repo.commits[commit].get(path))
        if content is None:
            self.send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        headers = {"X-Repo-Commit": commit}
        if not path.endswith(LFS):
            self.send(200, content, {**headers, "ETag": f'"{oid(path, content)}"'})
            return
        digest = oid(path, content)
        assert digest is not None
        self.hub.objects[digest] = content
        headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        self.send(302, b"", {**headers, "Location": f"{self.hub.store}/cdn/{digest}"})

    def cdn(self, body: bytes, oid: str) -> None:
        assert "Authorization" not in self.headers  # the token is for the hub only
        content, start = self.hub.objects[oid], 0
        if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(wanted[1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        end = len(content)
        if self.hub.cuts:
            end = start + self.hub.cuts.pop(0)
            self.close_connection = True
        self.wfile.write(content[start:end])


def oid(path: str, content: bytes | None) -> str | None:
    """Return the name the hub gives a file: sha256 for LFS, that of a git blob otherwise."""
    if content is None:
        return None
    if path.endswith(LFS):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def card_problems(text: str) -> list[str]:
    """Return what the hub would object to in the metadata of a model card."""
    head = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    if head is None:
        return ["there is no metadata"]
    try:
        data = yaml.safe_load(head[1])
    except yaml.YAMLError as error:
        return [str(error)]
    problems = []
    if data.get("license") not in LICENCES:
        problems.append('"license" must be one of the list')
    if data.get("license") == "other" and not re.fullmatch("[a-z0-9.-]+", data["license_name"]):
        problems.append('"license_name" must be a slug')
    if "pipeline_tag" in data and data["pipeline_tag"] not in TASKS:
        problems.append('"pipeline_tag" is no task')
    if not all(isinstance(tag, str) for tag in data.get("tags", [])):
        problems.append('"tags" must be strings')
    if "base_model" in data and not re.fullmatch(r"[\w.-]+/[\w.-]+", data["base_model"]):
        problems.append('"base_model" must be the id of a model')
    return problems


NAME = r"(?P<name>[^/]+/[^/]+)"
ROUTES: tuple[tuple[str, str, Callable[..., None]], ...] = (
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.check_card),
    ("GET", f"/api/models/{NAME}", Handler.info),
    ("GET", f"/api/models/{NAME}/revision/(?P<revision>.+)", Handler.info),
    ("POST", f"/api/models/{NAME}/branch/(?P<branch>.+)", Handler.branch),
    ("POST", f"/api/models/{NAME}/preupload/(?P<revision>.+)", Handler.preupload),
    ("POST", f"/api/models/{NAME}/commit/(?P<revision>.+)", Handler.commit),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", "/lfs/(?P<oid>.+)", Handler.put),
    ("HEAD GET", f"/{NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
    ("HEAD GET", "/cdn/(?P<oid>.+)", Handler.cdn),
)
