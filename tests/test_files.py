"""Files and folders that are whole or absent."""

import errno
import hashlib
import json
import os
import stat
from pathlib import Path

import pytest
import torch

from sae_lens_classif.checksums import (
    read_json,
    read_tensors,
    sha256_of_file,
    sha256_of_json,
    write_json,
    write_tensors,
)
from sae_lens_classif.errors import UserError
from sae_lens_classif.files import (
    clear_leftovers,
    explain_full_disk,
    folder_is_writable,
    new_folder,
    replace_folder,
    write_text,
)
from tests.tiny_run import ended_process

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
    (tmp_path / f"file.json.{os.getpid()}.partial").symlink_to(_FULL)
    with pytest.raises(UserError, match=r"the disk is full while writing .*file\.json; make room and run"):
        write_json(file, {"new": 2})
    assert read_json(file) == {"old": 1}


def test_json_keeps_its_content_and_refuses_nan_before_it_touches_the_file(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, None, True], "ä": {"b": "c"}}
    write_json(tmp_path / "file.json", content)
    written = json.loads((tmp_path / "file.json").read_text(encoding="utf-8"))
    assert written == {**content, "own_sha256": sha256_of_json(content)}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file.json", {"a": float("nan")})
    assert read_json(tmp_path / "file.json") == content


def test_a_number_that_is_changed_in_a_json_file_is_noticed_and_a_file_without_a_checksum_is_taken_as_it_is(
    tmp_path: Path,
) -> None:
    file = tmp_path / "file.json"
    for content in ({"a": 17, "b": [1]}, {"a": 17, "eval_result_unstructured": {"b": 1}}, {1: {"a": 17}}):
        write_json(file, content)
        assert read_json(file) == json.loads(json.dumps(content))
        file.write_text(file.read_text().replace("17", "27"))
        with pytest.raises(UserError, match=r"file\.json was altered since it was written.* run `compare` again"):
            read_json(file, "compare")
    file.write_text('{"a": 27}')
    assert read_json(file) == {"a": 27}


def test_every_byte_of_a_json_file_that_is_changed_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    file, content = tmp_path / "file.json", {"name": "ä", "values": [1.5, -2e-7], "deep": {"x": None}}
    write_json(file, content)
    whole = file.read_bytes()
    for place in range(len(whole)):
        for change in (1, 32, 128):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
            try:
                found = read_json(file)
            except UserError:
                continue
            # The checksum's own name was changed: what it is of is as it was.
            assert {name: found[name] for name in content} == content


def test_tensors_are_read_as_they_were_written_and_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "file.safetensors"
    tensors = {"b": torch.tensor([[1.5, -2.0]]), "a": torch.tensor(3), "none": torch.empty(0, 2)}
    write_tensors(file, tensors, {"settings": "x", "more": "y"})
    whole = file.read_bytes()
    write_tensors(file, tensors, {"more": "y", "settings": "x"})
    assert file.read_bytes() == whole  # also the header, whose entries safetensors itself writes in any order
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found, notes = read_tensors(file)
        except UserError:
            continue
        assert all(torch.equal(found[name], value) for name, value in tensors.items())
        assert {name: notes[name] for name in notes if name in ("settings", "more")} in (
            {"settings": "x", "more": "y"},
            {},
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("", "is not valid JSON"),
        ('{"a": 1', "is not valid JSON.*run the step"),
        ('{"a": [NaN]}', "is not valid JSON"),
        ('{"a": 1e999}', "is not valid JSON"),
        ('{"a": {"\\ud800": 1}}', "is not valid JSON"),
    ],
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
    leftover = tmp_path / f"folder.{ended_process()}.partial"
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
    for name, what in (("source", "source"), ("target", "target"), (f"target.{os.getpid()}.old", "left")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{what}.txt").write_text(what)
    replace_folder(tmp_path / "source", tmp_path / "target")
    replace_folder(tmp_path / "target", tmp_path / "deep" / "new")
    assert _content(tmp_path) == {"deep/new/source.txt": "source"}


def test_what_killed_processes_left_is_cleared_and_what_they_were_replacing_comes_back(tmp_path: Path) -> None:
    ended, own = ended_process(), os.getpid()
    kept = {
        "folder/file.txt": "old",
        f"mine.txt.{own}.partial": "is being written",
        "x.partial": "a name of the user's",
    }
    left = {f"deep/file.txt.{ended}.partial": "half", f"folder.{ended}.partial/file.txt": "half"}
    replaced = {f"whole.{ended}.old/file.txt": "replaced", "whole/file.txt": "new"}
    for name, text in {**left, **replaced, **kept, f"folder.{ended}.old/file.txt": "old"}.items():
        if name != "folder/file.txt":
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
    clear_leftovers(tmp_path)
    assert _content(tmp_path) == {**kept, "whole/file.txt": "new"}


def test_what_safetensors_writes_in_a_new_folder_may_be_read_by_others_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with new_folder(tmp_path / "folder") as temporary:
            (temporary / "deep").mkdir()
            (temporary / "deep" / "private.txt").touch(mode=0o600)
        write_tensors(tmp_path / "file.safetensors", {"a": torch.ones(1)})
    finally:
        os.umask(before)
    files = (tmp_path / "folder" / "deep" / "private.txt", tmp_path / "file.safetensors")
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o640, 0o640]
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["deep"]


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
