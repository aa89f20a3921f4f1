"""``summary.json``: the headline numbers of every method of a run."""

from pathlib import Path
from typing import Any

from sae_lens_classif.evals.evaluate import Evaluation, describe_concepts
from sae_lens_classif.evals.measures import FLOOR, all_measures, headlines
from sae_lens_classif.evals.results import finite
from sae_lens_classif.files import read_json, write_json


def update_summary(
    path: Path, method: str, evaluation: Evaluation, about: dict[str, Any], settings: str, context: str
) -> dict[str, Any]:
    """Put the numbers of one method into a run's summary, beside those of others.

    Args:
        path: ``summary.json``; need not exist.
        method: Name of the method.
        evaluation: What the evaluations found.
        about: What the run is about: model, data, hook.
        settings: Fingerprint of everything that the numbers depend on.
        context: ``alone`` or ``in_context``.

    Returns:
        The whole summary.
    """
    summary = read_json(path) if path.is_file() else {"methods": {}}
    curves = [measure for measure in all_measures() if measure.n_values > 1]
    names = [name for measure in (*headlines(), *curves) for name in (measure.name, f"{measure.name}_ci95")]
    metrics = finite(evaluation.metrics)
    summary["methods"][method] = {
        **{name: metrics[name] for name in names if name in metrics},
        "context": context,
        "warnings": list(evaluation.warnings),
        "concepts": finite(describe_concepts(evaluation.concepts)),
        "settings_sha256": settings,
    }
    if FLOOR in metrics:
        summary[FLOOR] = metrics[FLOOR]
    summary.update(about)
    write_json(path, summary)
    return summary


def is_up_to_date(path: Path, method: str, settings: str) -> bool:
    """Whether a summary holds a method's numbers for these settings."""
    if not path.is_file():
        return False
    summary = read_json(path)
    entry = summary.get("methods", {}).get(method, {})
    return bool(entry.get("settings_sha256") == settings) and "hub_names" in summary  # earlier versions noted none
