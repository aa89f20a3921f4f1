"""JSON that is nested too deep, or has a row that is null, is refused before it is parsed."""

from pathlib import Path

import pytest

from sae_lens_classif.data import nesting
from sae_lens_classif.data.nesting import check_json
from sae_lens_classif.errors import UserError


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 101,
        b'{"a": ' * 101,
        b'{"text": "a", "label": 0}\n' + b"[" * 100_000 + b"\n",
        b'{"text": "\\\\"}\n' + b"[" * 101,  # the string ends after its backslash
        b'{"text": "never closed\n' + b"[" * 101,
    ],
)
def test_json_that_is_nested_deeper_than_a_table_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(content)
    with pytest.raises(UserError, match="nested deeper than 100; give texts"):
        check_json(file)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[" * 100 + b"]" * 100,
        b'{"text": "' + b"[" * 1000 + b'"}',
        b'{"text": "\\"' + b"[" * 1000 + b'"}',
        b'{"text": "\\\\\\"' + b"[" * 1000 + b'"}',
        b'{"text": [{"a": 1}]}\n' * 1000,
    ],
)
def test_brackets_in_strings_and_one_after_the_other_are_no_nesting(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_bytes(content)
    check_json(file)


@pytest.mark.parametrize(
    "content",
    [b"null", b'null\n{"text": "a"}', b'{"text": "a"}\n null\n', b"[null]", b'\xef\xbb\xbf\n[{"text": null}, null]'],
)
def test_a_row_that_is_null_is_refused(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first one ends the process of pyarrow."""
    file = tmp_path / "train.json"
    file.write_bytes(content)
    for n_bytes in (1, 2, 2**24):
        monkeypatch.setattr(nesting, "_CHUNK", n_bytes)
        with pytest.raises(UserError, match="has a row that is null; give texts"):
            check_json(file)


def test_a_value_may_be_null(tmp_path: Path) -> None:
    file = tmp_path / "train.json"
    for content in (b'{"text": "null", "a": null}\n{"a": [null]}', b'[{"text": "null", "a": null}, {"a": [null]}]'):
        file.write_bytes(content)
        check_json(file)


def test_a_string_may_stand_in_several_pieces_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "train.json"
    file.write_bytes(b'{"text": "a\\\\\\"' + b"[" * 200 + b'\\\\", "a": ' + b"[" * 99 + b"]" * 99 + b"}")
    for n_bytes in range(1, 20):
        monkeypatch.setattr(nesting, "_CHUNK", n_bytes)
        check_json(file)
    file.write_bytes(b'{"text": "a\\\\", "a": ' + b"[" * 100 + b"]" * 100 + b"}")
    for n_bytes in range(1, 20):
        monkeypatch.setattr(nesting, "_CHUNK", n_bytes)
        with pytest.raises(UserError, match="nested deeper"):
            check_json(file)
