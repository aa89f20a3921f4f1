"""The files of one method's evaluations: JSON in SAEBench's shape, and the resampled values behind intervals."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from sae_lens_classif.config.run import EvaluateConfig, evaluation_names
from sae_lens_classif.evals.evaluate import Evaluation
from sae_lens_classif.evals.results import Measures, saebench_result
from sae_lens_classif.files import read_json, write_json, write_tensors


class EvaluationFiles:
    """Evaluations of one fitted method in a folder.

    Attributes:
        folder: Holds ``<evaluation>.json`` and ``<evaluation>.safetensors``.
        settings: SHA-256 of everything that the results depend on.
    """

    def __init__(self, folder: Path, settings: str) -> None:
        """
        Args:
            folder: Need not exist.
            settings: SHA-256 of everything that the results depend on.
        """
        self.folder = folder
        self.settings = settings

    def known(self) -> dict[str, Measures]:
        """Results on disk that were made with the same settings, of whichever evaluations."""
        return read_measures(self.folder, self.settings)

    def write(
        self, evaluation: Evaluation, cfg: EvaluateConfig, method: str, release: str, sae_cfg: dict[str, Any]
    ) -> None:
        """Write what was measured.

        Args:
            evaluation: The results.
            cfg: Settings of the evaluations.
            method: Name of the method.
            release: Name of the run.
            sae_cfg: Configuration of the SAE behind it; empty if there is none.
        """
        for name in cfg.evals:
            if name not in evaluation.measures:
                continue
            measures = evaluation.measures[name]
            result = saebench_result(
                f"classif_{name}",
                measures,
                eval_config=asdict(cfg),
                unstructured={"settings_sha256": self.settings, "warnings": list(evaluation.warnings)},
                sae_lens_id=method,
                sae_lens_release_id=release,
                sae_cfg_dict=sae_cfg,
            )
            path = self.folder / f"{name}.json"
            write_tensors(path.with_suffix(".safetensors"), measures.resamples)
            write_json(path, result)  # last: what reads it finds the other


def read_measures(folder: Path, settings: str | None = None) -> dict[str, Measures]:
    """Read the evaluations of a folder.

    Args:
        folder: Where they were written.
        settings: Only those that depend on this; default: all.
    """
    found = {}
    for name in evaluation_names():
        path = folder / f"{name}.json"
        if path.is_file():
            result = read_json(path)
            if settings in (None, result["eval_result_unstructured"].get("settings_sha256")):
                try:
                    resamples = load_file(path.with_suffix(".safetensors"))
                except (FileNotFoundError, SafetensorError):
                    continue  # to be measured again
                found[name] = Measures(result["eval_result_metrics"], result["eval_result_details"][0], resamples)
    return found
