"""Concepts with a twin: in the evaluation, and wherever concepts are shown."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from sae_lens_classif import ActivationStore, ClassifSAE, TextData, write_report
from sae_lens_classif.checksums import read_json
from sae_lens_classif.evals.interpretability import activating_sets
from tests.html_page import ParsedPage
from tests.tiny_run import change_sae, cli, make_tiny


@dataclass(frozen=True)
class Put:
    """A run into whose SAE twins were put.

    Attributes:
        run: The run folder.
        stdout: What `evaluate` printed.
        first: A concept.
        fires: One that fires with it, and points elsewhere.
        points: One that points like it, and fires elsewhere.
    """

    run: Path
    stdout: str
    first: int
    fires: int
    points: int


@pytest.fixture
def put(tmp_path: Path, classifier_folder: Path, train_data: TextData, test_data: TextData) -> Put:
    tiny = make_tiny(tmp_path / "tiny", classifier_folder, train_data, test_data)
    tiny.command("cache", "run")
    tiny.command("train", "run", "--sae.recipe", "reference")  # in which several concepts share a text
    sae = ClassifSAE.load_from_disk(tiny.run("run") / "saes" / "classifsae")
    with torch.no_grad():
        active = sae.encode(ActivationStore(tiny.run("run") / "activations" / "test").read("hidden").float()) > 0
    first, points, *_, fires = active[:, : sae.cfg.n_concepts].sum(dim=0).argsort(descending=True).tolist()

    def change(sae: ClassifSAE) -> None:
        sae.W_enc[:, fires], sae.b_enc[fires] = sae.W_enc[:, first], sae.b_enc[first]
        aside = sae.W_dec[fires] - (sae.W_dec[fires] @ sae.W_dec[first]) * sae.W_dec[first]
        sae.W_dec[fires] = torch.nn.functional.normalize(aside, dim=0)
        sae.W_enc[:, points], sae.b_enc[points] = -sae.W_enc[:, first], sae.b_enc[first]
        sae.W_dec[points] = sae.W_dec[first]

    change_sae(tiny.run("run"), change)
    evals = ("--evaluate.evals", "[completeness, causality, interpretability]")
    return Put(tiny.run("run"), tiny.command("evaluate", "run", *evals), first, fires, points)


def entry_of(run: Path) -> Any:
    return read_json(run / "summary.json")["methods"]["classifsae"]


def test_twins_are_named_in_evaluation_summary_terminal_and_report(put: Put) -> None:
    run = put.run
    sae = ClassifSAE.load_from_disk(run / "saes" / "classifsae")
    n_concepts = sae.cfg.n_concepts
    with torch.no_grad():
        hidden = ActivationStore(run / "activations" / "test").read("hidden").float()
        member = activating_sets(sae.encode(hidden)[:, :n_concepts])
    texts = [set(column.nonzero()[:, 0].tolist()) for column in member.T]
    cosine = torch.nn.functional.normalize(sae.W_dec[:n_concepts].detach(), dim=1)
    cosine = cosine @ cosine.T
    fires: dict[int, list[int]] = {number: [] for number in range(n_concepts)}
    points: dict[int, list[int]] = {number: [] for number in range(n_concepts)}
    for i in range(n_concepts):
        for j in range(n_concepts):
            if i != j and texts[i] and texts[j]:
                if len(texts[i] & texts[j]) >= 0.5 * len(texts[i] | texts[j]):
                    fires[i].append(j)
                if float(cosine[i, j]) >= 0.7:
                    points[i].append(j)
    assert put.fires in fires[put.first] and put.points in points[put.first], "what was put there"
    entry = entry_of(run)
    for concept in entry["concepts"]:
        assert (concept["fires_with"], concept["points_with"]) == (fires[concept["index"]], points[concept["index"]])
    living = sum(map(bool, texts))
    with_twin = sum(bool(fires[number] or points[number]) for number in range(n_concepts))
    assert entry["twin_concepts"] == pytest.approx(with_twin / living)
    details = read_json(run / "evals" / "classifsae" / "interpretability.json")
    pairs = details["eval_result_details"][0]["twins"]
    expected = [[i, j] for i in range(n_concepts) for j in range(i + 1, n_concepts) if j in fires[i] + points[i]]
    assert [pair["concepts"] for pair in pairs] == expected
    page = ParsedPage(write_report(run, explained=0).read_text(encoding="utf-8"))
    words = " ".join(page.words.split())
    said = f"fires with {', '.join(map(str, fires[put.first]))}; points like {', '.join(map(str, points[put.first]))}"
    assert words.count(said) == 2, "in the table and on the card"
    assert "fires with" in " ".join(put.stdout.split())
    assert cli("publish", run, "someone/concepts", "--dry-run").code == 0
    assert said in (run / "hub" / "README.md").read_text(encoding="utf-8")
