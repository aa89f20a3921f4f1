"""Few concepts kept, or taken away: the curves against running each text with what is left of its concepts."""

import torch

from sae_lens_classif import ActivationStore, EvaluateConfig, TextClassifier, TextData
from sae_lens_classif.evals.base import TestPass
from sae_lens_classif.evals.completeness import measure as completeness
from sae_lens_classif.evals.sufficiency import measure, ranks
from sae_lens_classif.hooks.interventions import run_interventions
from tests.evals.test_ablation import Coordinates

_N = 5


def _passed(
    classifier: TextClassifier, store: ActivationStore, data: TextData, context: str = "alone", **settings: int
) -> TestPass:
    cfg = EvaluateConfig(context=context, n_bootstrap=50, device="cpu", **settings)  # type: ignore[arg-type]
    texts = TestPass(Coordinates(), classifier, store, data, cfg)
    texts.run_model(with_ablations=True)
    return texts


def test_places_go_by_strength_and_silent_concepts_come_last() -> None:
    strength = torch.tensor([[0.1, 0.3, 0.2, 0.9]])
    assert ranks(strength, torch.tensor([[True, True, True, False]])).tolist() == [[2, 0, 1, 3]]


def test_the_curves_are_what_each_text_gives_with_what_is_left_of_its_concepts(
    classifier: TextClassifier, test_store: ActivationStore, test_data: TextData
) -> None:
    texts = _passed(classifier, test_store, test_data, batch_size=7)
    found, logits = measure(texts), texts.logits
    kept, changed = torch.zeros(_N + 1), torch.zeros(_N + 1)
    through = logits.bottleneck.softmax(dim=1)
    for row, concepts in enumerate(texts.concepts):
        pairs = (logits.pair_text == row).nonzero()[:, 0]
        moved = [(through[row] - logits.pair[pair].softmax(dim=0)).abs().sum().item() for pair in pairs]
        ordered = [int(logits.pair_concept[pair]) for _, pair in sorted(zip(moved, pairs.tolist(), strict=True))[::-1]]
        for m in range(_N + 1):
            with_first, without = torch.zeros(1, _N), concepts[None].clone()
            with_first[0, ordered[:m]] = concepts[ordered[:m]]
            without[0, ordered[:m]] = 0
            for curve, left in ((kept, with_first), (changed, without)):
                hidden = texts.hidden[row : row + 1]
                ran = run_interventions(classifier, texts.method.decode, hidden, left, pairs=False)
                curve[m] += ran.bottleneck.argmax() == texts.predicted[row]
    n_texts = len(texts.concepts)
    assert torch.tensor(found.details["sufficiency_curve"]).allclose(kept / n_texts, atol=1e-6)
    assert torch.tensor(found.details["necessity_curve"]).allclose(1 - changed / n_texts, atol=1e-6)
    assert abs(found.metrics["sufficiency"] - float((kept / n_texts).mean())) < 1e-6
    low, high = found.metrics["sufficiency_ci95"]
    assert low <= found.metrics["sufficiency"] <= high


def test_the_curves_begin_and_end_at_the_floor_and_at_all_concepts(
    classifier: TextClassifier, test_store: ActivationStore, test_data: TextData
) -> None:
    for context in ("alone", "in_context"):
        texts = _passed(classifier, test_store, test_data, context)
        found, complete = measure(texts).details, completeness(texts).metrics
        for order in ("", "_random"):
            kept, changed = found[f"sufficiency{order}_curve"], found[f"necessity{order}_curve"]
            ends = complete["recovery_floor"], complete["recovery_accuracy"]
            assert (round(kept[0], 6), round(kept[-1], 6)) == tuple(round(end, 6) for end in ends)
            assert (round(1 - changed[-1], 6), round(1 - changed[0], 6)) == tuple(round(end, 6) for end in ends)
