"""An HTTP server on this machine that downloads are tested against."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vox2face.store import download as fetching


class Server:
    """What the server does: `files` by path, `cuts` bytes after which each request is cut."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.requests: list[tuple[str, str | None]] = []
        self.ranges = True
        self.etag: str | None = None
        self.address = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append((self.path, self.headers.get("Range")))
            if state.statuses:
                self.send_error(state.statuses.pop(0))
                return
            if self.path not in state.files:
                self.send_error(404)
                return
            body = state.files[self.path]
            tag = state.etag or f'"{hashlib.md5(body).hexdigest()}"'
            start = 0
            wanted = self.headers.get("Range")
            if wanted and state.ranges and self.headers.get("If-Range") == tag:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body) - start))
            self.send_header("ETag", tag)
            self.end_headers()
            end = start + state.cuts.pop(0) if state.cuts else len(body)
            self.wfile.write(body[start:end])
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    state.address = f"http://127.0.0.1:{running.server_port}"
    monkeypatch.delenv("VOX2FACE_OFFLINE")
    monkeypatch.setattr(fetching, "PAUSE", 0.01)
    yield state
    running.shutdown()
    running.server_close()
    thread.join()
