"""Features against decisions: what tells them is found, in both directions, and what decides nothing is left out."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from sae_lens_classif.errors import UserError
from sae_lens_classif.features.classifiers import ClassifierSettings, fit_classifier
from sae_lens_classif.features.decisions import (
    COMMONEST,
    Decisions,
    DecisionSettings,
    DecisionStudy,
    View,
    decision_study,
)
from tests.tiny_run import contents, snapshot

SETTINGS = DecisionSettings(ClassifierSettings("prototype"), n_bootstrap=100)
N = (120, 80)
RANDOM = np.random.default_rng(0)
SIGNS = [RANDOM.integers(0, 2, n) for n in N], [RANDOM.integers(0, 3, n) for n in N]


def view(name: str, number: int, noise: float, reads: list[str]) -> View:
    """One sign of each text, with noise."""
    random = np.random.default_rng(number)
    rows = [np.eye(3)[own] + noise * random.normal(size=(len(own), 3)) for own in SIGNS[number]]

    def read() -> tuple[object, object]:
        reads.append(name)
        return rows[0], rows[1]

    return View(name, "about it", [name], read)


def views(reads: list[str]) -> list[View]:
    train, test = ([f"{'dog' if one else 'cat'} text {row}" for row, one in enumerate(own)] for own in SIGNS[0])
    return [
        view("a", 0, 0.2, reads),
        view("b", 1, 0.2, reads),
        View("words", "TF-IDF", ["words"], lambda: (train, test), are_words=True),
    ]


def decisions(number: int, of: str = "") -> Decisions:
    return Decisions(of or f"model {number}", ("x", "y", "z"), (SIGNS[number][0], SIGNS[number][1]))


def test_each_view_tells_its_own_model_and_not_the_other(tmp_path: Path) -> None:
    found = decision_study(views([]), [decisions(0), decisions(1)], tmp_path, SETTINGS)
    cells = found.cells
    assert cells["a"]["model 0"].macro_f1.value > 0.95 and cells["b"]["model 1"].macro_f1.value > 0.95
    assert cells["a"]["model 1"].macro_f1.value < 0.5 and cells["b"]["model 0"].macro_f1.value < 0.65
    assert cells["words"]["model 0"].accuracy == 1
    train, test = views([])[1].read()
    fitted = fit_classifier(train, SIGNS[0][0], SETTINGS.classifier)
    expected = f1_score(SIGNS[0][1], fitted.predict(test), average="macro")
    assert cells["b"]["model 0"].macro_f1.value == pytest.approx(expected, abs=1e-6)
    commonest = np.full(80, np.bincount(SIGNS[1][0]).argmax())
    expected = f1_score(SIGNS[1][1], commonest, average="macro", zero_division=0)
    assert cells[COMMONEST]["model 1"].macro_f1.value == pytest.approx(expected, abs=1e-6)
    assert cells["a"]["model 0"].difference is None
    less, more = cells["b"]["model 0"].difference, cells["b"]["model 1"].difference
    assert less is not None and less.is_real and less.mean > 0.3
    assert more is not None and more.is_real and more.mean < -0.3
    assert found.views == {"a": "about it", "b": "about it", "words": "TF-IDF"} and found.n_texts == N
    assert DecisionStudy.model_validate(found.model_dump()) == found


def test_what_was_fitted_is_kept_and_the_decisions_on_test_texts_change_no_byte_of_it(tmp_path: Path) -> None:
    reads: list[str] = []
    one = decision_study(views(reads), [decisions(0)], tmp_path / "one", SETTINGS)
    assert decision_study(views(reads), [decisions(0)], tmp_path / "one", SETTINGS) == one
    assert reads == ["a", "b"], "what is known is not read again"
    turned = Decisions("model 0", ("x", "y", "z"), (SIGNS[0][0], 1 - SIGNS[0][1]))
    other = decision_study(views([]), [turned], tmp_path / "two", SETTINGS)
    assert contents(snapshot(tmp_path / "one")) == contents(snapshot(tmp_path / "two"))
    assert other.cells["a"]["model 0"].accuracy == pytest.approx(1 - one.cells["a"]["model 0"].accuracy)


def test_a_decision_on_a_single_text_is_not_learned_and_who_decides_nothing_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rare = SIGNS[0][0].copy()
    rare[0] = 2
    always = Decisions("always", ("x", "y", "z"), (np.zeros(N[0], np.int64), SIGNS[0][1]))
    once = Decisions("once", ("x", "y", "z"), (rare, SIGNS[0][1]))
    found = decision_study(views([]), [always, once], tmp_path, SETTINGS)
    assert list(found.classifiers) == ["once"] and "always decides the same" in caplog.text
    assert found.cells["a"]["once"].macro_f1.value > 0.95
    with pytest.raises(UserError, match="decides the same of all training texts"):
        decision_study(views([]), [always], tmp_path, SETTINGS)
