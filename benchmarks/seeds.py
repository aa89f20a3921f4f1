"""How much concepts depend on the seed: ``python benchmarks/seeds.py runs/ag_news 0 1 2 3 4 --sae.recipe reference``.

Fits a method on the run's own states with each seed, without touching the run folder, and prints a Markdown table of
the fair measures, then how much of the influence comes back in every other seed. Options are settings of the SAE, its
training and the other methods; ``--method topk_sae`` fits another method. ``--without bias`` trains a head that has
none, ``--without detaching`` lets the reconstruction send gradients through the concepts to the end: suspects, if
trainings fail.
"""

import argparse
import contextlib
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch

import sae_lens_classif as slc
from sae_lens_classif.config.yaml import config_of, read_yaml
from sae_lens_classif.evals.base import FIRES
from sae_lens_classif.evals.coming_back import back_in_every_other
from sae_lens_classif.evals.matching import ConceptSet
from sae_lens_classif.methods.base import FitTask
from sae_lens_classif.methods.find import find_method
from sae_lens_classif.runs.folder import RunFolder
from sae_lens_classif.runs.run_classifier import open_run_classifier
from sae_lens_classif.saes.classif_sae import ClassifTrainingSAE

COLUMNS = {
    "recovery_accuracy": "RAcc",
    "recovery_floor": "floor",
    "recovery_ceiling": "ceiling",
    "scaled_recovery": "scaled",
    "worst_class_recovery": "worst class",
    "unexplained_texts": "unexplained",
    "mean_activation_rate": "mean rate",
    "max_activation_rate": "largest",
    "conditional_tvd": "mean TVD",
    "median_tvd": "median TVD",
    "influence": "influence",
    "sufficiency": "sufficiency",
}
RARE = 0.005  # of the texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--method", default="classifsae")
    parser.add_argument("--without", choices=("bias", "detaching"))
    asked, options = parser.parse_known_args()
    with WITHOUT[asked.without]:
        measure(asked, options)


def measure(asked: argparse.Namespace, options: list[str]) -> None:
    cfg = config_of((str(asked.run), read_yaml(asked.run / "config.yaml")), options=options)
    classifier = open_run_classifier(RunFolder(asked.run, cfg))
    states, test_states = (slc.ActivationStore(asked.run / "activations" / split) for split in ("train", "test"))
    test_data = slc.load_text_data(cfg.data, "test")
    evaluation = replace(cfg.evaluate, evals=("completeness", "causality", "sufficiency"), n_bootstrap=10)
    sae, n_concepts = (
        cfg.sae.sized(states.n_classes, states.d_in, states.multi_label),
        cfg.sae.concepts_for(states.n_classes),
    )
    print("| seed |", " | ".join(COLUMNS.values()), f"| under {RARE:.1%} | fit, s |")
    print("|---|" + "---:|" * (len(COLUMNS) + 2))
    found: list[tuple[ConceptSet, torch.Tensor]] = []
    for seed in asked.seeds:
        began = time.perf_counter()
        train = replace(cfg.train, seed=seed)
        method = find_method(asked.method).fit(FitTask(states, classifier, n_concepts, seed, sae, train, cfg.baselines))
        seconds = time.perf_counter() - began
        result = slc.evaluate(method, classifier, test_states, test_data, evaluation)
        concepts = method.encode(test_states.read("hidden").float())
        rates = (concepts.abs() > FIRES).double().mean(dim=0)
        effects = torch.tensor([entry["tvd"] for entry in result.measures["causality"].details["concepts"]])
        found.append((ConceptSet.of(concepts, method.directions()), rates * effects))
        numbers = [result.metrics[name] for name in COLUMNS]
        cells = ["–" if number is None else f"{number:.3f}" for number in numbers]
        print(
            f"| {seed} |",
            " | ".join(cells),
            f"| {int((rates < RARE).sum())} of {n_concepts} | {seconds:.0f} |",
            flush=True,
        )
    if len(found) > 1:
        shares = back_in_every_other(*zip(*found, strict=True))
        print("\nBack in every other seed, by influence:", ", ".join(f"{share or 0:.0%}" for share in shares))


def without_bias(sae: ClassifTrainingSAE, z: torch.Tensor) -> torch.Tensor:
    """The head's class logits, whose bias is left out and so stays 0."""
    return torch.nn.functional.linear(z[..., : sae.cfg.n_concepts], sae.classifier_weight)


WITHOUT: dict[str | None, contextlib.AbstractContextManager[object]] = {
    None: contextlib.nullcontext(),
    "bias": patch.object(ClassifTrainingSAE, "classify", without_bias),
    "detaching": patch("sae_lens_classif.saes.losses.detaches_concepts", lambda *_: False),
}


if __name__ == "__main__":
    main()
