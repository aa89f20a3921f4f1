"""A repository as the Hub shows it, and the errors that the Hub answers with."""

import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple


class Refusal(NamedTuple):
    """An error the Hub answers with."""

    status: HTTPStatus
    code: str | None
    message: str


class RefusedError(Exception):
    """Ends an answer with an error."""

    def __init__(self, refusal: Refusal, commit: str | None = None, **more: str) -> None:
        super().__init__(refusal.message)
        self.refusal, self.commit, self.more = refusal, commit, more


# To a stranger the Hub says 401 with no code, which huggingface_hub takes for the same, but over https alone.
NO_REPOSITORY = Refusal(HTTPStatus.NOT_FOUND, "RepoNotFound", "Repository not found")
NO_REVISION = Refusal(HTTPStatus.NOT_FOUND, "RevisionNotFound", "Invalid rev id")
NO_ENTRY = Refusal(HTTPStatus.NOT_FOUND, "EntryNotFound", "Entry not found")
NO_PAGE = Refusal(HTTPStatus.NOT_FOUND, None, "Sorry, we can't find the page you are looking for.")
GATED = Refusal(
    HTTPStatus.UNAUTHORIZED, "GatedRepo", "Access to this model is restricted. You must be authenticated to access it."
)
BAD_TOKEN = Refusal(HTTPStatus.UNAUTHORIZED, None, "Invalid credentials in Authorization header")
NOT_YOURS = Refusal(HTTPStatus.FORBIDDEN, None, "You don't have the rights to create a model under this namespace")
LFS_SUFFIXES = (".safetensors", ".parquet", ".png")


class Repository:
    """Files as the Hub shows them: with one commit, whose hash changes with the content.

    Attributes:
        name: ``owner/name``.
        files: Content by path.
        private: Whether strangers do not see it.
    """

    def __init__(self, name: str, files: Mapping[str, bytes], private: bool = False) -> None:
        self.name, self.private = name, private
        self.files = dict(sorted(files.items()))

    @property
    def commit(self) -> str:
        """Hash of the one commit."""
        digest = hashlib.sha1(usedforsecurity=False)
        for path, content in sorted(self.files.items()):
            digest.update(f"{path}\0{git_hash(content)}\n".encode())
        return digest.hexdigest()

    def info(self) -> dict[str, Any]:
        """What the Hub tells of it."""
        return {
            "_id": self.commit[:24], "id": self.name, "modelId": self.name, "author": self.name.split("/")[0],
            "sha": self.commit, "private": self.private, "gated": False, "disabled": False, "downloads": 0, "likes": 0,
            "tags": [], "lastModified": "2024-01-01T00:00:00.000Z", "createdAt": "2024-01-01T00:00:00.000Z",
            "siblings": [{"rfilename": path} for path in self.files],
        }  # fmt: skip

    def entry(self, path: str, expand: bool) -> dict[str, Any] | None:
        """What the tree tells of a file or a folder; None where there is neither."""
        commit = {"id": self.commit, "title": "first", "date": "2024-01-01T00:00:00.000Z"}
        last_commit = {"lastCommit": commit} if expand else {}
        if path not in self.files:
            is_folder = any(file.startswith(f"{path}/") for file in self.files)
            oid = git_hash(path.encode())
            return {"type": "directory", "oid": oid, "size": 0, "path": path, **last_commit} if is_folder else None
        content = self.files[path]
        lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return {
            "type": "file", "oid": git_hash(content), "size": len(content), "path": path,
            **({"lfs": lfs} if path.endswith(LFS_SUFFIXES) else {}), **last_commit,
        }  # fmt: skip

    def tree(self, folder: str, recursive: bool, expand: bool) -> list[dict[str, Any]]:
        """Entries of a folder."""
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


def git_hash(content: bytes) -> str:
    """The name git gives a file of that content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
