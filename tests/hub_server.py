"""The download side of the Hugging Face Hub, served from local folders on 127.0.0.1.

Serves what huggingface_hub and datasets ask when they load: files, their headers, information about
a repository, its tree, and the codes of the Hub's errors. It is also a proxy that lets nothing
through, so that a client with ``environment()`` reaches this machine alone and what else it asked for
is seen in ``refused``.
"""

import hashlib
import json
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

_KINDS = ("models", "datasets")
_LFS_SUFFIXES = (".safetensors", ".parquet")


class Request(NamedTuple):
    """One request that came in: its method and its path, or its whole address where it came to the proxy."""

    method: str
    target: str


class Refusal(NamedTuple):
    """An error the Hub answers with."""

    status: HTTPStatus
    code: str | None
    message: str


class RefusedError(Exception):
    """Ends an answer with an error."""

    def __init__(self, refusal: Refusal, commit: str | None = None) -> None:
        super().__init__(refusal.message)
        self.refusal, self.commit = refusal, commit


# To a stranger the Hub says 401 with no code, which huggingface_hub takes for the same, but over https alone.
NO_REPOSITORY = Refusal(HTTPStatus.NOT_FOUND, "RepoNotFound", "Repository not found")
NO_REVISION = Refusal(HTTPStatus.NOT_FOUND, "RevisionNotFound", "Invalid rev id")
NO_ENTRY = Refusal(HTTPStatus.NOT_FOUND, "EntryNotFound", "Entry not found")
NO_PAGE = Refusal(HTTPStatus.NOT_FOUND, None, "Sorry, we can't find the page you are looking for.")
GATED = Refusal(
    HTTPStatus.UNAUTHORIZED, "GatedRepo", "Access to this model is restricted. You must be authenticated to access it."
)
BAD_TOKEN = Refusal(HTTPStatus.UNAUTHORIZED, None, "Invalid credentials in Authorization header")


class Repository:
    """A folder as the Hub shows it: with one commit, whose hash changes with the content."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        digest = hashlib.sha1(usedforsecurity=False)
        for path, content in self.files.items():
            digest.update(f"{path}\0{_git_hash(content)}\n".encode())
        self.commit = digest.hexdigest()

    def info(self) -> dict[str, Any]:
        return {
            "_id": self.commit[:24], "id": self.name, "modelId": self.name, "author": self.name.split("/")[0],
            "sha": self.commit, "private": False, "gated": False, "disabled": False, "downloads": 0, "likes": 0,
            "tags": [], "lastModified": "2024-01-01T00:00:00.000Z", "createdAt": "2024-01-01T00:00:00.000Z",
            "siblings": [{"rfilename": path} for path in self.files],
        }  # fmt: skip

    def entry(self, path: str, expand: bool) -> dict[str, Any] | None:
        """What the tree tells of a file or a folder; None where there is neither."""
        commit = {"id": self.commit, "title": "first", "date": "2024-01-01T00:00:00.000Z"}
        last_commit = {"lastCommit": commit} if expand else {}
        if path not in self.files:
            is_folder = any(file.startswith(f"{path}/") for file in self.files)
            oid = _git_hash(path.encode())
            return {"type": "directory", "oid": oid, "size": 0, "path": path, **last_commit} if is_folder else None
        content = self.files[path]
        lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return {
            "type": "file", "oid": _git_hash(content), "size": len(content), "path": path,
            **({"lfs": lfs} if path.endswith(_LFS_SUFFIXES) else {}), **last_commit,
        }  # fmt: skip

    def tree(self, folder: str, recursive: bool, expand: bool) -> list[dict[str, Any]]:
        prefix = f"{folder}/" if folder else ""
        paths: set[str] = set()
        for file in self.files:
            if file.startswith(prefix):
                parts = file.removeprefix(prefix).split("/")
                depth = len(parts) if recursive else 1
                paths.update(prefix + "/".join(parts[:length]) for length in range(1, depth + 1))
        if not paths:
            raise RefusedError(NO_ENTRY, self.commit)
        return [entry for path in sorted(paths) if (entry := self.entry(path, expand)) is not None]


class HubServer:
    """Serves ``root/models/OWNER/NAME`` and ``root/datasets/OWNER/NAME`` while it is entered.

    Attributes:
        requests: What was asked, in this order.
        refused: The part of it that was not for this server.
        failing: Whether every answer is 503, as when the Hub has an outage.
        repositories: What is served, by kind and name.
        closed: What is answered, by name, instead of the repository's files and tree.
    """

    def __init__(self, root: Path, closed: Mapping[str, Refusal] | None = None) -> None:
        self.requests: list[Request] = []
        self.refused: list[Request] = []
        self.failing = False
        self.closed = closed or {}
        self.repositories = {
            (kind, name): Repository(name, folder)
            for kind in _KINDS
            for folder in sorted(root.glob(f"{kind}/*/*"))
            for name in [folder.relative_to(root / kind).as_posix()]
        }
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
        """Variables that send every request of a process here and keep its caches in a folder."""
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), self.endpoint)
        return {
            **proxies, **{name.lower(): value for name, value in proxies.items()},
            "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "HF_ENDPOINT": self.endpoint, "HF_HOME": str(home),
        }  # fmt: skip

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

    def do_CONNECT(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the requests are kept."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.command, self.path)
        self.server_hub.requests.append(request)
        if not self.path.startswith("/"):
            self.server_hub.refused.append(request)
            self.close_connection = True
            return self._send(b"", HTTPStatus.FORBIDDEN, {})
        if self.server_hub.failing:
            return self._send(b"", HTTPStatus.SERVICE_UNAVAILABLE, {})
        address = urlsplit(self.path)
        parts = [unquote(part) for part in address.path.strip("/").split("/")]
        try:
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
            return self._send(json.dumps({"error": refusal.message}).encode(), refusal.status, headers)

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
        etag = _git_hash(content)
        headers = {"X-Repo-Commit": repository.commit, "Accept-Ranges": "bytes"}
        if path.endswith(_LFS_SUFFIXES):
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


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
