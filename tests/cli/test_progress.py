"""Every step that may take long shows how far it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import pandas as pd
import pytest

from sae_lens_classif.data.texts import TextData
from tests.tiny_run import cli, make_tiny


class _Bar:
    """Stands in for tqdm: notes each bar, what it counts to, and how far it came."""

    made: ClassVar[list["_Bar"]] = []

    def __init__(self, iterable: Any = None, *, total: int | None = None, desc: str = "", **_: Any) -> None:
        self.desc, self.n, self.iterable = desc, 0, iterable
        self.total = len(iterable) if total is None and iterable is not None else total
        self.made.append(self)

    def __iter__(self) -> Any:
        for one in self.iterable:
            yield one
            self.n += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, n: int = 1) -> None:
        self.n += n

    def close(self) -> None:
        pass

    def set_postfix_str(self, *_: object) -> None:
        pass


_MODULES = (
    "explaining.explain", "methods.concept_vectors", "methods.sae_probe", "methods.ica", "saes.concept_start",
    "store.caching", "runs.figures", "runs.score_file", "hooks.interventions", "hooks.tuning.finetune",
    "evals.sufficiency", "evals.bootstrap", "evals.evaluate",
)  # fmt: skip


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, tuple[int | None, int]]]:
    """What the bars since the last question were: of each how far it was to go, and how far it came."""
    _Bar.made.clear()
    for module in _MODULES:
        monkeypatch.setattr(f"sae_lens_classif.{module}.tqdm", _Bar)

    def since() -> dict[str, tuple[int | None, int]]:
        found = {bar.desc: (bar.total, bar.n) for bar in _Bar.made}
        _Bar.made.clear()
        return found

    return since


def test_every_long_step_has_a_bar_and_says_what_it_will_take(
    classifier_folder: Path,
    train_data: TextData,
    test_data: TextData,
    tmp_path: Path,
    bars: Callable[[], dict[str, tuple[int | None, int]]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    tiny = make_tiny(tmp_path / "tiny", classifier_folder, train_data, test_data)
    for step in ("cache", "train"):
        tiny.command(step, "run")
    found = bars()
    assert found["Caching train"] == (240, 240) and found["Caching test"] == (90, 90)
    tiny.command("evaluate", "run", "--evaluate.evals", "[completeness,causality,sufficiency]")
    found = bars()
    assert found["Measuring"] == (3, 3) and found["Resampling texts"] == (20, 20)
    assert found["Ablating concepts"] == (90, 90) and found["Keeping few concepts"][0] == 90
    methods = "[classifsae,topk_sae,ica,concept_shap,random_directions]"
    tiny.command("compare", "run", "--compare.methods", methods, "--baselines.epochs", 1)
    assert "4 fits to make" in caplog.text
    assert {"Choosing latents", "Fitting ica", "Fitting concept_shap"} <= set(bars())
    assert cli("report", tiny.run("run"), "--explained", 7).code == 0
    assert bars()["Explaining texts"] == (7, 7)
    frame = pd.DataFrame({"text": test_data.texts})
    frame.to_parquet(tmp_path / "in.parquet")
    frame.to_csv(tmp_path / "in.csv")
    for name, total in (("in.parquet", 90), ("in.csv", None)):
        assert cli("score", tiny.run("run"), tmp_path / name, "--out", tmp_path / "out.jsonl").code == 0
        assert bars()["Scoring"] == (total, 90)
    tiny.command("sweep", "run", "--grid", "sae.gamma=0.05,0.2")
    assert "2 cells to make" in caplog.text
