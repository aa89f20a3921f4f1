"""The Hugging Face Hub, served from local folders on 127.0.0.1.

Serves what huggingface_hub and datasets ask when they load: files, their headers, information about
a repository, its tree, and the codes of the Hub's errors; uploads are in ``hub_uploads.py``. It is also
a proxy that lets nothing through, so that a client with ``environment()`` reaches this machine alone and
what else it asked for is seen in ``refused``.
"""

import hashlib
import json
import os
import socket
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from huggingface_hub import constants

from tests.fakes.hub_repository import (
    LFS_SUFFIXES,
    NO_ENTRY,
    NO_PAGE,
    NO_REPOSITORY,
    NO_REVISION,
    Refusal,
    RefusedError,
    Repository,
    git_hash,
)
from tests.fakes.hub_uploads import Uploads

_KINDS = ("models", "datasets")


class Request(NamedTuple):
    """One request that came in: its method and its path, or its whole address where it came to the proxy."""

    method: str
    target: str


class HubServer:
    """Serves ``root/models/OWNER/NAME`` and ``root/datasets/OWNER/NAME`` while it is entered.

    Attributes:
        requests: What was asked, in this order.
        refused: The part of it that was not for this server.
        failing: Whether every answer is 503, as when the Hub has an outage.
        repositories: What is served, by kind and name.
        closed: What is answered, by name, instead of the repository's files and tree.
        breaks_at: The connection is broken off at a request whose path holds this, as when the network goes.
    """

    def __init__(
        self, root: Path, closed: Mapping[str, Refusal] | None = None, token: str | None = None, owner: str = "someone"
    ) -> None:
        self.requests: list[Request] = []
        self.refused: list[Request] = []
        self.failing = False
        self.closed = closed or {}
        self.breaks_at: str | None = None
        self.repositories = {
            (kind, name): Repository(name, _files(folder))
            for kind in _KINDS
            for folder in sorted(root.glob(f"{kind}/*/*"))
            for name in [folder.relative_to(root / kind).as_posix()]
        }
        self.uploads = Uploads(self.repositories, token, owner)
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def environment(self, home: Path) -> dict[str, str]:
        """A process's environment: requests go here, caches into a folder; what the machine says of hubs is unset."""
        unset = ("HF_", "HUGGING", "TRANSFORMERS_", "SENTENCE_TRANSFORMERS_", "XDG_")
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), self.endpoint)
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(unset)},
            **proxies, **{name.lower(): value for name, value in proxies.items()},
            "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HF_ENDPOINT": self.endpoint, "HF_HOME": str(home),
        }  # fmt: skip

    def stand_in(self, patch: pytest.MonkeyPatch, cache: Path) -> None:
        """Put this server in the Hub's place in this process, with a cache of its own."""
        patch.setattr(constants, "ENDPOINT", self.endpoint)
        patch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", self.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setenv("HF_ENDPOINT", self.endpoint)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)


class _Handler(BaseHTTPRequestHandler):
    server_hub: HubServer
    protocol_version = "HTTP/1.1"
    timeout = 30  # of a connection that nothing comes over

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_CONNECT(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the requests are kept."""

    def _answer(self) -> None:
        body = self._body()
        request = Request(self.command, self.path)
        self.server_hub.requests.append(request)
        if not self.path.startswith("/"):
            self.server_hub.refused.append(request)
            self.close_connection = True
            return self._send(b"", HTTPStatus.FORBIDDEN, {})
        if self.server_hub.failing:
            return self._send(b"", HTTPStatus.SERVICE_UNAVAILABLE, {})
        if self.server_hub.breaks_at is not None and self.server_hub.breaks_at in self.path:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return None
        address = urlsplit(self.path)
        parts = [unquote(part) for part in address.path.strip("/").split("/")]
        try:
            uploaded = self.server_hub.uploads.answer(self.command, parts, body, self.headers, self.server_hub.endpoint)
            if uploaded is not None:
                return self._send(uploaded, HTTPStatus.OK, {"Content-Type": "application/json"})
            if parts[0] == "api":
                query = parse_qs(body.decode() if body else address.query)
                content = json.dumps(self._api(parts[1:], query)).encode()
                return self._send(content, HTTPStatus.OK, {"Content-Type": "application/json"})
            if parts == [""]:
                return self._send(b"<html>", HTTPStatus.OK, {"Content-Type": "text/html; charset=utf-8"})
            return self._file(parts)
        except RefusedError as refused:
            refusal, commit = refused.refusal, refused.commit
            headers = {"X-Error-Message": refusal.message}
            headers |= {"X-Error-Code": refusal.code} if refusal.code else {}
            headers |= {"X-Repo-Commit": commit} if commit else {}
            error = json.dumps({"error": refusal.message, **refused.more}).encode()
            return self._send(error, refusal.status, headers)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _repository(self, kind: str, name: list[str]) -> Repository:
        repository = self.server_hub.repositories.get((kind, "/".join(name)))
        if repository is None:
            raise RefusedError(NO_REPOSITORY)
        return repository

    def _open_repository(self, kind: str, name: list[str], revision: str) -> Repository:
        """The repository whose files may be read."""
        repository = self._repository(kind, name)
        if repository.name in self.server_hub.closed:
            raise RefusedError(self.server_hub.closed[repository.name], repository.commit)
        if revision not in ("main", repository.commit):
            raise RefusedError(NO_REVISION, repository.commit)
        return repository

    def _api(self, parts: list[str], query: dict[str, list[str]]) -> Any:
        if len(parts) < 3 or parts[0] not in _KINDS:
            raise RefusedError(NO_PAGE)
        revision = parts[4] if len(parts) > 4 else "main"
        expand = query.get("expand", ["false"])[0].lower() == "true"
        match parts[3:]:
            case [] | ["revision", _]:  # seen by everyone where the files are not
                return self._repository(parts[0], parts[1:3]).info()
            case ["tree", _, *folder]:
                repository = self._open_repository(parts[0], parts[1:3], revision)
                recursive = query.get("recursive", ["false"])[0].lower() == "true"
                return repository.tree("/".join(folder), recursive, expand)
            case ["paths-info", _]:
                repository = self._open_repository(parts[0], parts[1:3], revision)
                entries = [repository.entry(path.strip("/"), expand) for path in query.get("paths", [])]
                return [entry for entry in entries if entry is not None]
        raise RefusedError(NO_PAGE)

    def _file(self, parts: list[str]) -> None:
        kind = "models"
        if parts[0] == "datasets":
            kind, parts = parts[0], parts[1:]
        if len(parts) < 5 or parts[2] != "resolve":
            raise RefusedError(NO_PAGE)
        repository = self._open_repository(kind, parts[:2], parts[3])
        path = "/".join(parts[4:])
        content = repository.files.get(path)
        if content is None:
            raise RefusedError(NO_ENTRY, repository.commit)
        etag = git_hash(content)
        headers = {"X-Repo-Commit": repository.commit, "Accept-Ranges": "bytes"}
        if path.endswith(LFS_SUFFIXES):
            etag = hashlib.sha256(content).hexdigest()
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content))}
        headers |= {"ETag": f'"{etag}"', "Content-Type": "application/octet-stream"}
        asked = self.headers.get("Range")
        if asked is None:
            return self._send(content, HTTPStatus.OK, headers)
        first, last = asked.removeprefix("bytes=").split("-")
        start, end = int(first), min(int(last or len(content)) + 1, len(content))
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        return self._send(content[start:end], HTTPStatus.PARTIAL_CONTENT, headers)

    def _send(self, content: bytes, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
