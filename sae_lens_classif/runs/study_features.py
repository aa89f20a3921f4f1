"""A study of features from Python: as the command ``features``, on texts as they are at hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sae_lens_classif.features.study import Study
from sae_lens_classif.runs.features import features_step
from sae_lens_classif.runs.make_run import with_steps


def study_features(
    folder: str | Path,
    data: Any = None,
    *,
    preset: str | Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Study:
    """Do features of SAEs classify texts, which, and better than what? What is done is reused.

    Makes ``features/`` in the run folder: the features, ``study.{json,md}``, ``heatmap.{png,svg}``.

    Args:
        folder: The run folder; need not exist.
        data: Labelled texts, as ``make_run`` takes them. Default: what the settings name.
        preset: Settings to begin with, one name or several.
        settings: By their names, as ``{"features.model": "path/or/name", "features.saes": ["FOLDER", "RELEASE:ID"]}``.
        overwrite: Whether results of other settings or texts are made anew.

    Returns:
        What every approach reached; ``Study.best`` names the one that was best in cross-validation.

    Raises:
        UserError: If no model or no SAE is given, an SAE is of another model, the data are something else, or a setting
            does not exist or does not fit.
    """
    options = {"preset": preset, "settings": settings, "overwrite": overwrite}
    found: Study = with_steps(folder, data, "study_features", [features_step], **options)[1]
    return found
