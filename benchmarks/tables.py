"""The rows of the tables in this folder: ``python benchmarks/tables.py RUN ...``, of runs that ``compare`` finished.

First a row a run and method with the worst of its seeds, then the methods side by side. An asterisk differs from
ClassifSAE (paired bootstrap, Holm's correction).
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sae_lens_classif.evals.base import FIRES, activations_of
from sae_lens_classif.evals.coming_back import back_in_every_other
from sae_lens_classif.evals.matching import ConceptSet
from sae_lens_classif.methods.base import load_method
from sae_lens_classif.methods.classif_sae import ClassifSAEConcepts
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.results import read_methods
from sae_lens_classif.runs.run_method import load_trained
from sae_lens_classif.store.store import ActivationStore

RARE = 0.005  # of the texts
SIDE_BY_SIDE = {  # heading: measure, in percent, with its interval
    "scaled RAcc, %": ("scaled_recovery", True, True),
    "worst class, %": ("worst_class_recovery", True, True),
    "mean rate, %": ("mean_activation_rate", True, True),
    "median TVD, %": ("median_tvd", True, True),
    "influence, %": ("influence", True, True),
    "at random": ("influence_random_directions", True, False),
    "sufficiency, %": ("sufficiency", True, True),
    "necessity, %": ("necessity", True, True),
    "ConceptSim": ("concept_sim", False, True),
}
FINER = ("influence", "influence_random_directions")  # small shares: two places


def main(runs: list[Path]) -> None:
    print("| | method | floor | ceiling | RAcc, worst | scaled, worst | rare, worst | mean rate | back |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for run in runs:
        for name in (METHOD, "classifsae_reference"):
            if name in _methods(run):
                print(_worst(run, name))
    print(f"\n| | Method | {' | '.join(SIDE_BY_SIDE)} |")
    print(f"|---|---|{'---:|' * len(SIDE_BY_SIDE)}")
    for run in runs:
        for place, method in enumerate(_methods(run).values()):
            print(f"| {run.name if place == 0 else ''} | {method.title} | {' | '.join(_cells(method))} |")


def _methods(run: Path) -> dict[str, Any]:
    return read_methods(RunFolder.open(run)).methods


def _cells(method: Any) -> list[str]:
    cells = []
    for measure, in_percent, with_interval in SIDE_BY_SIDE.values():
        found = method.estimates.get(measure)
        if found is None or found.mean is None:
            cells.append("–")
            continue
        places, factor = (2 if measure in FINER else 1, 100) if in_percent else (3, 1)
        words = f"{factor * found.mean:.{places}f}"
        if with_interval and found.ci95:
            words += " ({} … {})".format(*(f"{factor * limit:.{places}f}" for limit in found.ci95))
        difference = method.differences.get(measure)
        cells.append(words + "*" * bool(difference and difference.is_real))
    return cells


def _worst(run: Path, name: str) -> str:
    """The worst of the seeds, and how much of the influence comes back in every other."""
    method = _methods(run)[name]
    by_seed = {measure: found.by_seed for measure, found in method.estimates.items()}
    rates, back = _concepts(run, name, method.seeds)
    rare = max(int((own < RARE).sum()) for own in rates)
    cells = [
        *(_least(by_seed[measure]) for measure in ("recovery_floor", "recovery_ceiling")),
        *(_least(by_seed[measure]) for measure in ("recovery_accuracy", "scaled_recovery")),
        f"{rare} of {len(rates[0])}",
        f"{100 * method.estimates['mean_activation_rate'].mean:.1f}",
        "–" if back is None else f"{100 * back:.0f} %",
    ]
    return f"| {run.name} | {method.title} | {' | '.join(cells)} |"


def _least(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{100 * min(known):.1f}" if len(known) == len(values) else "–"


def _concepts(run: Path, name: str, seeds: tuple[int, ...]) -> tuple[list[torch.Tensor], float | None]:
    """Activation rates of each seed's concepts, and the mean share of the influence that comes back."""
    folder = RunFolder.open(run)
    hidden, sets, influences, rates = ActivationStore(folder.activations("test")).read("hidden").float(), [], [], []
    for seed in seeds:
        is_own = name == METHOD and seed == folder.cfg.train.seed and not folder.method(name, seed).is_dir()
        method = load_trained(folder)[0] if is_own else load_method(folder.method(name, seed))
        assert isinstance(method, ClassifSAEConcepts)
        concepts = activations_of(method, hidden)
        rate = (concepts.abs() > FIRES).double().mean(dim=0)
        file = folder.evaluations(name, seed) / "causality.json"
        if not file.is_file():
            file = folder.evaluations(name) / "causality.json"
        details = json.loads(file.read_text(encoding="utf-8"))["eval_result_details"][0]["concepts"]
        influences.append(rate * torch.tensor([entry["tvd"] for entry in details], dtype=torch.float64))
        sets.append(ConceptSet.of(concepts, method.directions()))
        rates.append(rate)
    if len(sets) < 2:
        return rates, None
    shares = [share or 0.0 for share in back_in_every_other(sets, influences)]
    return rates, sum(shares) / len(shares)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main([Path(run) for run in sys.argv[1:]])
