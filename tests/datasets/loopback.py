"""A web server on this machine that serves one file, well or badly."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """``content`` at ``/good.bin`` and below ``/sets/``; how it behaves can be changed while it runs."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.etag = '"one"'
        self.ranges = True
        self.tells_length = True
        self.cut_after: list[int] = []
        """The next answers break off after so many bytes."""
        self.refuse_with: list[int] = []
        """The next answers are these errors."""
        self.minds_versions = True
        """Whether If-Range is obeyed."""
        self.asked: list[str | None] = []
        """The Range header of each request."""

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(self.headers.get("Range"))
        if not self.path.startswith(("/good", "/sets/")):
            self.send_error(404)
            return
        if server.refuse_with:
            self.send_error(server.refuse_with.pop(0))
            return
        start = self._start()
        if start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            total = len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.tells_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cut_after.pop(0)] if server.cut_after else body)

    def _start(self) -> int:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = not self.server.minds_versions or self.headers.get("If-Range") in (None, self.server.etag)
        return int(found[1]) if found and same and self.server.ranges else 0

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serve(content: bytes) -> Iterator[Server]:
    server = Server(content)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
