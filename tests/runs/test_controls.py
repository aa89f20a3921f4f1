"""Controls lose: what knows nothing of the classifier is behind in every measure that chance cannot win."""

from pathlib import Path
from typing import Any

import pytest

from sae_lens_classif.checksums import read_json
from sae_lens_classif.evals.measures import find_measure
from tests.tiny_run import cli

SHARED = Path(__file__).parents[3] / "shared"
_MODEL, _TEXTS = SHARED / "models" / "tiny_neox_ag_news", SHARED / "data" / "ag_news"
_FAIR = ("scaled_recovery", "worst_class_recovery", "median_tvd", "influence", "influence_over_chance", "sufficiency")
_CONTROLS = ("random_directions", "permuted_labels")
_OPTIONS = (
    "--data.source", _TEXTS, "--data.max_train_texts", 4000, "--data.max_test_texts", 1000,
    "--data.class_names", "World,Sports,Business,Sci/Tech",
    "--prompt.template", "{text}\n\nTopic:", "--prompt.label_word", "<|{id}|>", "--prompt.max_tokens", 96,
    "--classifier.model", _MODEL, "--train.total_samples", 1_000_000, "--evaluate.n_bootstrap", 400,
)  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (_MODEL.is_dir() and _TEXTS.is_dir()), reason=f"there are no {_MODEL} and {_TEXTS}"),
]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real classifier's run, with a ClassifSAE and both controls."""
    run = tmp_path_factory.mktemp("controls") / "run"
    for command, more in (("run", ()), ("compare", ("--compare.methods", ",".join(("classifsae", *_CONTROLS))))):
        ended = cli(command, "--run", run, *_OPTIONS, *more)
        assert ended.code == 0, ended.stderr
    return run


def _read(file: Path) -> Any:
    return read_json(file)["methods"]


@pytest.mark.parametrize("name", _FAIR)
@pytest.mark.parametrize("control", _CONTROLS)
def test_controls_lose_under_every_fair_measure(compared: Path, control: str, name: str) -> None:
    difference = _read(compared / "comparison.json")[control]["differences"][name]
    assert find_measure(name).better * difference["mean"] < 0 and difference["is_real"], difference


@pytest.mark.parametrize("name", ["scaled_recovery", "conditional_tvd", "influence", "sufficiency"])
def test_random_directions_that_are_active_as_often_do_less(compared: Path, name: str) -> None:
    entry = _read(compared / "summary.json")["classifsae"]
    assert entry[f"{name}_random_directions_ci95"][1] < entry[f"{name}_ci95"][0]


def test_texts_of_random_directions_are_less_alike(compared: Path) -> None:
    """Those of permuted labels are not: clusters of any texts are alike, whatever the classifier does with them."""
    difference = _read(compared / "comparison.json")["random_directions"]["differences"]["concept_sim"]
    assert difference["mean"] < 0 and difference["is_real"], difference
