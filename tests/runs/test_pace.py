"""What long steps say beforehand, and how long the rest will take."""

import logging
import time
from pathlib import Path

import pytest

from sae_lens_classif.runs.pace import Pace
from sae_lens_classif.wording import about_duration
from tests.tiny_run import cli


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """What is logged, by a clock that goes on by what is slept."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    caplog.set_level(logging.INFO, logger="sae_lens_classif.runs.pace")
    return caplog


def test_after_each_piece_it_says_about_how_long_the_others_take(said: pytest.LogCaptureFixture) -> None:
    pace = Pace(3, "fits", n_done=2)
    for seconds, counts in ((120, True), (0.5, False), (60, True), (60, True)):
        with pace.piece(counts):
            time.sleep(seconds)
    assert said.messages == [
        "3 fits to make, beside 2 that are there already",
        "1 of 3 fits made; about 4 minutes more, if the others take as long (2 minutes each)",
        "2 of 3 fits made; about 2 minutes more, if the others take as long (2 minutes each)",
    ]


def test_what_is_quick_or_fails_is_not_talked_about(said: pytest.LogCaptureFixture) -> None:
    pace = Pace(3, "fits")
    with pace.piece():
        time.sleep(1)
    with pytest.raises(ValueError, match="no"), pace.piece():
        time.sleep(1000)
        raise ValueError("no")
    assert said.messages == ["3 fits to make"]
    Pace(1, "fits"), Pace(0, "fits", 5)
    assert len(said.messages) == 1, "of a single piece there are no others"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 second"), (1.4, "1 second"), (45, "45 seconds"), (89, "89 seconds"), (91, "2 minutes"),
     (3600, "60 minutes"), (5400, "2 hours"), (36000, "10 hours")],
)  # fmt: skip
def test_a_duration_is_written_no_more_exactly_than_it_is_known(seconds: float, words: str) -> None:
    assert about_duration(seconds) == words


def test_stability_says_how_many_trainings_it_makes_and_whether_the_concepts_come_back(
    demo_run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="sae_lens_classif")
    ended = cli("stability", demo_run, "--seeds", 3)
    assert ended.code == 0, ended.stderr
    assert "2 trainings to make" in caplog.messages
    assert "Does another training find the same concepts?" in " ".join(ended.stdout.split())
