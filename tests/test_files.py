"""Files and folders that are whole or absent."""

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from sae_lens_classif.errors import UserError
from sae_lens_classif.files import (
    explain_full_disk,
    folder_is_writable,
    new_folder,
    read_json,
    replace_folder,
    sha256_of_file,
    sha256_of_json,
    write_json,
    write_text,
)

_FULL = Path("/dev/full")


def _content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_written_file_holds_the_text_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "file.txt", "größer\n")
    write_text(tmp_path / "new" / "file.txt", "again: größer\n")
    assert (tmp_path / "new" / "file.txt").read_bytes() == "again: größer\n".encode()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.txt"]


@pytest.mark.skipif(not _FULL.exists(), reason="the system has no /dev/full")
def test_a_full_disk_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    write_json(file, {"old": 1})
    (tmp_path / "file.json.partial").symlink_to(_FULL)
    with pytest.raises(UserError, match=r"the disk is full while writing .*file\.json; make room and run"):
        write_json(file, {"new": 2})
    assert read_json(file) == {"old": 1}


def test_json_keeps_its_content_and_refuses_nan_before_it_touches_the_file(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, None, True], "ä": {"b": "c"}}
    write_json(tmp_path / "file.json", content)
    assert json.loads((tmp_path / "file.json").read_text(encoding="utf-8")) == content
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file.json", {"a": float("nan")})
    assert read_json(tmp_path / "file.json") == content


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "does not exist"), ("", "is not valid JSON"), ('{"a": 1', "is not valid JSON.*run the step")],
)
def test_json_that_cannot_be_read_is_an_error_that_names_the_file(
    tmp_path: Path, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / "file.json").write_text(text)
    with pytest.raises(UserError, match=rf"file\.json {message}"):
        read_json(tmp_path / "file.json")


def test_a_new_folder_replaces_the_old_one_only_when_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    leftover = tmp_path / "folder.partial"
    leftover.mkdir()
    (leftover / "of_a_killed_run.txt").write_text("half")
    for version in ("first", "second"):
        with new_folder(folder) as temporary:
            before = _content(folder) if folder.exists() else None
            (temporary / f"{version}.txt").write_text(version)
        assert before == (None if version == "first" else {"first.txt": "first"})
    assert _content(tmp_path) == {"folder/second.txt": "second"}


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_a_folder_whose_filling_fails_is_not_there_and_the_old_one_stays(tmp_path: Path, error: BaseException) -> None:
    folder = tmp_path / "folder"
    for old in ({}, {"folder/old.txt": "old"}):
        if old:
            with new_folder(folder) as temporary:
                (temporary / "old.txt").write_text("old")
        with pytest.raises(type(error)), new_folder(folder) as temporary:
            (temporary / "half.txt").write_text("half")
            raise error
        assert _content(tmp_path) == old
        assert folder.exists() == bool(old)


def test_a_folder_is_renamed_in_place_of_another_one(tmp_path: Path) -> None:
    for name in ("source", "target", "target.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text(name)
    replace_folder(tmp_path / "source", tmp_path / "target")
    replace_folder(tmp_path / "target", tmp_path / "deep" / "new")
    assert _content(tmp_path) == {"deep/new/source.txt": "source"}


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        # What safetensors 0.8 and torch 2.13 raise on a full tmpfs; torch does not say why.
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
    ],
    ids=["full", "quota", "safetensors", "torch"],
)
def test_a_full_disk_is_explained_whoever_reports_it(error: Exception) -> None:
    full = pytest.raises(UserError, match="the disk is full while writing results; make room")
    with full as caught, explain_full_disk(Path("results")):
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no"), ValueError("x"), UserError("mine")])
def test_other_errors_are_not_taken_for_a_full_disk(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, explain_full_disk(Path("results")):
        raise error
    assert caught.value is error


def test_checksums_are_sha256_and_do_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of_file(tmp_path / "abc") == of_abc
    assert sha256_of_json({"b": [1, 2], "a": None}) == sha256_of_json({"a": None, "b": [1, 2]})
    assert sha256_of_json({"b": [1, 2]}) != sha256_of_json({"b": [2, 1]})
    assert sha256_of_json("abc") == hashlib.sha256(b'"abc"').hexdigest()


def test_a_run_folder_that_is_a_file_or_below_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="is a file; give the path of a folder"):
            folder_is_writable(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_run_folder_without_the_right_to_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="permission denied; give another folder"):
        folder_is_writable(tmp_path / "run")
    with pytest.raises(UserError, match="is not writable; give another folder"):
        folder_is_writable(tmp_path)


def test_a_run_folder_is_made_where_there_is_none(tmp_path: Path) -> None:
    folder_is_writable(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
