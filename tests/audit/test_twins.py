"""Concepts with a twin: in the evaluation, and wherever concepts are shown."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sae_lens_classif import ActivationStore, ClassifSAE, write_report
from sae_lens_classif.evals.interpretability import activating_sets
from tests.html_page import ParsedPage
from tests.tiny_run import change_sae, cli


def copy_the_first_concept(sae: ClassifSAE) -> None:
    """Concept 1 fires with concept 0, and 2 points the same way and fires nowhere near."""
    sae.W_enc[:, 1], sae.b_enc[1] = sae.W_enc[:, 0], sae.b_enc[0]
    sae.W_dec[1] = torch.nn.functional.normalize(sae.W_dec[1] - (sae.W_dec[1] @ sae.W_dec[0]) * sae.W_dec[0], dim=0)
    sae.W_dec[2] = sae.W_dec[0]


@pytest.fixture
def run(demo_run: Path) -> Path:
    change_sae(demo_run, copy_the_first_concept)
    ended = cli("evaluate", "--run", demo_run)
    assert ended.code == 0, ended.stderr
    (demo_run / "stdout.txt").write_text(ended.stdout, encoding="utf-8")
    return demo_run


def entry_of(run: Path) -> Any:
    return json.loads((run / "summary.json").read_text(encoding="utf-8"))["methods"]["classifsae"]


def test_twins_are_named_in_evaluation_summary_terminal_and_report(run: Path) -> None:
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
    assert 1 in fires[0] and 2 in points[0], "what was put there"
    entry = entry_of(run)
    assert {0, 1, 2} <= {concept["index"] for concept in entry["concepts"]}
    for concept in entry["concepts"]:
        assert (concept["fires_with"], concept["points_with"]) == (fires[concept["index"]], points[concept["index"]])
    living = sum(map(bool, texts))
    with_twin = sum(bool(fires[number] or points[number]) for number in range(n_concepts))
    assert entry["twin_concepts"] == pytest.approx(with_twin / living)
    details = json.loads((run / "evals" / "classifsae" / "interpretability.json").read_text(encoding="utf-8"))
    pairs = details["eval_result_details"][0]["twins"]
    expected = [[i, j] for i in range(n_concepts) for j in range(i + 1, n_concepts) if j in fires[i] + points[i]]
    assert [pair["concepts"] for pair in pairs] == expected
    page = ParsedPage(write_report(run, explained=0).read_text(encoding="utf-8"))
    words = " ".join(page.words.split())
    said = f"fires with {', '.join(map(str, fires[0]))}; points like {', '.join(map(str, points[0]))}"
    assert words.count(said) == 2, "in the table and on the card"
    printed = " ".join((run / "stdout.txt").read_text(encoding="utf-8").split())
    assert "fires with" in printed or not any(fires[concept["index"]] for concept in entry["concepts"][:5])
    assert cli("publish", run, "someone/concepts", "--dry-run").code == 0
    assert said in (run / "hub" / "README.md").read_text(encoding="utf-8")
