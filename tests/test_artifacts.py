"""Artifacts: absent, current, stale with what differs, or damaged."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from sae_lens_classif.artifacts import Artifact, incidental, settings_that_matter

MADE_FROM = {"store": "abc", "settings": {"lr": 0.1, "layers": [1, 2]}}


def artifact(folder: Path, made_from: dict[str, object] | None = None, place: tuple[str, ...] = ()) -> Artifact:
    return Artifact(folder, folder / "note.json", made_from or MADE_FROM, place)


def note(folder: Path, content: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "note.json").write_text(json.dumps(content), encoding="utf-8")


def test_what_was_never_made_is_absent(tmp_path: Path) -> None:
    assert artifact(tmp_path / "result").status().state == "absent"


def test_a_folder_without_its_note_is_absent_since_the_note_is_written_last(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("half", encoding="utf-8")
    assert artifact(tmp_path).status().state == "absent"


def test_what_was_made_from_the_same_is_current_in_whatever_order_it_was_noted(tmp_path: Path) -> None:
    note(tmp_path, {"settings": {"layers": [1, 2], "lr": 0.1}, "store": "abc", "seconds": 3})
    assert artifact(tmp_path).status().state == "current"


@pytest.mark.parametrize(
    ("changed", "different"),
    [
        ({**MADE_FROM, "store": "other"}, ("store",)),
        ({**MADE_FROM, "settings": {"lr": 0.2, "layers": [1, 2]}}, ("lr",)),
        ({**MADE_FROM, "settings": {"lr": 0.2, "layers": [2, 1]}, "store": "x"}, ("store", "lr", "layers")),
        ({**MADE_FROM, "sae": {"k": 3}}, ("sae",)),
    ],
)
def test_what_was_made_from_something_else_is_stale_and_says_what_differs(
    tmp_path: Path, changed: dict[str, object], different: tuple[str, ...]
) -> None:
    note(tmp_path, MADE_FROM)
    status = artifact(tmp_path, changed).status()
    assert status.state == "stale"
    assert {difference.name for difference in status.different} == set(different)


def test_a_setting_inside_a_section_is_called_by_both_names(tmp_path: Path) -> None:
    note(tmp_path, {"settings": {"train": {"lr": 1}}})
    (difference,) = artifact(tmp_path, {"settings": {"train": {"lr": 2}}}).status().different
    assert difference == ("train.lr", 1, 2)


def test_a_note_may_hold_the_fingerprint_alone_somewhere_inside(tmp_path: Path) -> None:
    wanted = artifact(tmp_path, place=("methods", "ica", "sha256"))
    note(tmp_path, {"methods": {"ica": {"sha256": wanted.fingerprint}}})
    assert wanted.status().state == "current"
    note(tmp_path, {"methods": {"ica": {"sha256": "of something else"}}})
    assert wanted.status().state == "stale"


@pytest.mark.parametrize("content", [{}, {"methods": {}}, {"methods": {"ica": None}}, [], "text", 5, None])
def test_a_note_without_the_place_is_of_another_version_and_stale(tmp_path: Path, content: object) -> None:
    note(tmp_path, content)
    assert artifact(tmp_path, place=("methods", "ica", "sha256")).status().state == "stale"


@pytest.mark.parametrize("text", ["", "{", "\x00", "nonsense"])
def test_a_note_that_cannot_be_read_is_damage_and_says_which_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "note.json").write_text(text, encoding="utf-8")
    status = artifact(tmp_path).status()
    assert status.state == "damaged"
    assert "note.json" in status.reason


def test_a_listed_file_that_is_gone_is_damage(tmp_path: Path) -> None:
    note(tmp_path, {**MADE_FROM, "files": ["map.png"]})
    assert artifact(tmp_path).status().state == "damaged"
    assert "map.png" in artifact(tmp_path).status().reason
    (tmp_path / "map.png").touch()
    assert artifact(tmp_path).status().state == "current"


def test_the_fingerprint_depends_on_every_value_and_on_no_order(tmp_path: Path) -> None:
    fingerprint = artifact(tmp_path).fingerprint
    assert fingerprint == artifact(tmp_path, dict(reversed(MADE_FROM.items()))).fingerprint
    assert fingerprint != artifact(tmp_path, {**MADE_FROM, "store": "abd"}).fingerprint


def test_settings_that_are_incidental_do_not_matter() -> None:
    @dataclass
    class Settings:
        lr: float = 0.1
        device: str | None = incidental(None)

    assert settings_that_matter(Settings(device="cuda")) == {"lr": 0.1}
    assert Settings().device is None
