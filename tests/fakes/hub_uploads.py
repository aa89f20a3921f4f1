"""The upload side of the Hub that ``tests/hub_server.py`` serves: repositories made and committed to, over LFS.

The Hub's newer protocol, Xet, is not spoken: a client is told so by ``HF_HUB_DISABLE_XET=1``.
"""

import base64
import hashlib
import json
from email.message import Message
from http import HTTPStatus
from typing import Any

from tests.fakes.hub_repository import (
    BAD_TOKEN,
    LFS_SUFFIXES,
    NO_REPOSITORY,
    NOT_YOURS,
    Refusal,
    RefusedError,
    Repository,
)


class Uploads:
    """What clients with the token upload.

    Attributes:
        token: The one that may write; None for none at all.
        owner: The namespace that it may write to.
    """

    def __init__(self, repositories: dict[tuple[str, str], Repository], token: str | None, owner: str) -> None:
        self._repositories = repositories
        self._objects: dict[str, bytes] = {}
        self.token, self.owner = token, owner

    def answer(self, method: str, parts: list[str], body: bytes, headers: Message, endpoint: str) -> bytes | None:
        """Answer a request; None where it is none of an upload."""
        match method, parts:
            case "POST", ["api", "validate-yaml"]:
                return _json({"errors": [], "warnings": []})
            case "PUT", ["lfs", oid]:
                assert hashlib.sha256(body).hexdigest() == oid, "what came is not what was announced"
                self._objects[oid] = body
                return b""
            case "POST", ["api", "repos", "create"]:
                return self._create(json.loads(body), headers, endpoint)
            case "POST", ["api", "models", owner, name, "preupload", _]:
                self._writable(f"{owner}/{name}", headers)
                return _json({"files": [_mode(file["path"]) for file in json.loads(body)["files"]]})
            case "POST", [owner, name, "info", "lfs", "objects", "batch"]:
                self._writable(f"{owner}/{name.removesuffix('.git')}", headers)
                objects = [self._batched(own, endpoint) for own in json.loads(body)["objects"]]
                return _json({"transfer": "basic", "objects": objects})
            case "POST", ["api", "models", owner, name, "commit", _]:
                return self._commit(self._writable(f"{owner}/{name}", headers), body, endpoint)
        return None

    def _check_token(self, headers: Message, owner: str) -> None:
        if self.token is None or headers.get("Authorization") != f"Bearer {self.token}":
            raise RefusedError(BAD_TOKEN)
        if owner != self.owner:
            raise RefusedError(NOT_YOURS)

    def _writable(self, name: str, headers: Message) -> Repository:
        self._check_token(headers, name.split("/")[0])
        repository = self._repositories.get(("models", name))
        if repository is None:
            raise RefusedError(NO_REPOSITORY)
        return repository

    def _create(self, asked: dict[str, Any], headers: Message, endpoint: str) -> bytes:
        name = f"{asked.get('organization') or self.owner}/{asked['name']}"
        self._check_token(headers, name.split("/")[0])
        private = bool(asked.get("private")) or asked.get("visibility") == "private"
        if ("models", name) in self._repositories:
            there = Refusal(HTTPStatus.CONFLICT, None, "You already created this model repo")
            raise RefusedError(there, url=f"{endpoint}/{name}")
        self._repositories["models", name] = Repository(name, {}, private)
        return _json({"url": f"{endpoint}/{name}", "name": name})

    def _batched(self, asked: dict[str, Any], endpoint: str) -> dict[str, Any]:
        found = {"oid": asked["oid"], "size": asked["size"]}
        if asked["oid"] in self._objects:
            return found
        return {**found, "actions": {"upload": {"href": f"{endpoint}/lfs/{asked['oid']}", "header": {}}}}

    def _commit(self, repository: Repository, body: bytes, endpoint: str) -> bytes:
        files = dict(repository.files)
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            match entry["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self._objects[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        repository.files = dict(sorted(files.items()))
        address = f"{endpoint}/{repository.name}/commit/{repository.commit}"
        return _json({"success": True, "commitOid": repository.commit, "commitUrl": address, "hookOutput": ""})


def _mode(path: str) -> dict[str, Any]:
    mode = "lfs" if path.endswith(LFS_SUFFIXES) else "regular"
    return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": None}


def _json(content: Any) -> bytes:
    return json.dumps(content).encode()
