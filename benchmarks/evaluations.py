"""Evaluations against the same definitions in plain loops: ``python benchmarks/evaluations.py``.

7,600 texts (AG News' test split), 20 concepts of which about five are active on a text, a GPT-NeoX of 4 layers x 128
with random weights and 8,000 tokens.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from synthetic_classifier import new_classifier
from timing import medians_in_turn, start

from sae_lens_classif.evals.interpretability import TOP_CONCEPTS, activating_sets, interpretability
from sae_lens_classif.hooks.backends.hooked_transformer import HookedTransformerClassifier, to_hooked_transformer
from sae_lens_classif.hooks.interventions import replace_states, run_interventions

_N_TEXTS, _N_CONCEPTS, _D_MODEL, _EMBEDDING = 7600, 20, 128, 384

start()
torch.manual_seed(0)
levels = torch.randn(_N_CONCEPTS) * 0.7 - 1.1
concepts = (torch.randn(_N_TEXTS, _N_CONCEPTS) + levels).relu()
hidden = torch.randn(_N_TEXTS, _D_MODEL)
directions = torch.nn.functional.normalize(torch.randn(_N_CONCEPTS, _D_MODEL), dim=1)
embeddings = torch.randn(_N_TEXTS, _EMBEDDING) + 0.3 * torch.randn(_EMBEDDING)


def _decode(acts: torch.Tensor) -> torch.Tensor:
    return acts @ directions


def _causality_in_loops(classifier: HookedTransformerClassifier, model: torch.nn.Module) -> torch.Tensor:
    """Label logits of each pair of a concept and a text it is active on, four texts at a time."""
    found = []
    with torch.no_grad():
        for concept in range(_N_CONCEPTS):
            rows = concepts[:, concept].nonzero()[:, 0]
            for four in rows.split(4):
                ablated = concepts[four].clone()
                ablated[:, concept] = 0
                states = replace_states(_decode, ablated, hidden[four])
                logits = model(states[:, None], start_at_layer=3)[:, -1]
                found.append(logits[:, classifier.inputs.label_token_ids])
    return torch.cat(found)


def _interpretability_in_loops() -> tuple[float, list[float]]:
    """ConceptSim and SentenceSim(1..4), one text after another; each text against all others in one NumPy product."""
    unit = torch.nn.functional.normalize(embeddings.double(), dim=1).numpy()
    member = activating_sets(concepts).numpy()
    total, pairs = 0.0, 0
    for concept in range(_N_CONCEPTS):
        own = np.flatnonzero(member[:, concept])
        for place in range(len(own)):
            total += float((unit[own[place + 1 :]] @ unit[own[place]]).sum())
        pairs += len(own) * (len(own) - 1) // 2
    signatures = [_signature(row) for row in concepts.numpy()]
    ones = np.zeros((_N_TEXTS, _N_CONCEPTS), dtype=np.int8)
    for row, signature in enumerate(signatures):
        ones[row, list(signature)] = 1
    means: dict[int, list[float]] = {k: [] for k in (1, 2, 3, 4)}
    for row in range(_N_TEXTS):
        shared = ones @ ones[row]
        shared[row] = -1
        for k, own_means in means.items():
            others = np.flatnonzero(shared == k)
            if len(others):
                own_means.append(float((unit[others] @ unit[row]).mean()))
    return total / pairs, [float(np.mean(values)) for values in means.values()]


def _signature(activations: npt.NDArray[np.float32]) -> set[int]:
    best = np.argsort(-np.abs(activations), kind="stable")[:TOP_CONCEPTS]
    return {int(concept) for concept in best if activations[concept] != 0}


def _causality_row() -> str:
    model, classifier = new_classifier(8000, _D_MODEL, n_layers=4, n_heads=4, max_tokens=96)
    hooked = to_hooked_transformer(model, 96, torch.device("cpu"))
    ours = run_interventions(classifier, _decode, hidden, concepts)
    order = (ours.pair_concept * _N_TEXTS + ours.pair_text).argsort()
    torch.testing.assert_close(ours.pair[order], _causality_in_loops(classifier, hooked), atol=1e-4, rtol=1e-4)
    return _row(
        "conditional causality",
        ours=lambda: run_interventions(classifier, _decode, hidden, concepts),
        loops=lambda: _causality_in_loops(classifier, hooked),
    )


def _interpretability_row() -> str:
    ours = interpretability(concepts, embeddings, n_bootstrap=1).metrics
    concept_sim, sentence_sim = _interpretability_in_loops()
    np.testing.assert_allclose(ours["concept_sim"], concept_sim, rtol=1e-9)
    np.testing.assert_allclose(ours["sentence_sim"], sentence_sim, rtol=1e-9)
    return _row(
        "ConceptSim, SentenceSim(1..4), sets",
        ours=lambda: interpretability(concepts, embeddings, n_bootstrap=1),
        loops=_interpretability_in_loops,
    )


def _row(what: str, ours: Callable[[], object], loops: Callable[[], object]) -> str:
    seconds = medians_in_turn({"ours": ours, "loops": loops}, repeats=5, warm_up=0)
    return f"| {what} | {seconds['ours']:.2f} s | {seconds['loops']:.1f} s | {seconds['loops'] / seconds['ours']:.0f} |"


print(f"<!-- {float((concepts > 0).float().mean()) * _N_CONCEPTS:.1f} concepts active on a text -->")
print("| | ours | loops | times as fast |")
print("|---|---:|---:|---:|")
print(_interpretability_row(), flush=True)
print(_causality_row(), flush=True)
