"""Settings of a run, and the code of the user's own that they name: who asked for it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sae_lens_classif.config.run import RunConfig
from sae_lens_classif.config.yaml import config_of, read_noted
from sae_lens_classif.plugins import names_code

_MAY_NAME_CODE = (
    ("classifier", "model"), ("compare", "methods"), ("sweep", "grid"), ("features", "decisions_of"),
)  # fmt: skip


def settings_of_run(
    folder: Path, *given: tuple[str, Any], options: Sequence[str] = ()
) -> tuple[RunConfig, frozenset[str]]:
    """The settings that a run folder holds, and over them those that the user gives now.

    Args:
        folder: The run folder; need not exist.
        given: The user's own layers: where they are from, and values by section; see ``config_of``.
        options: Words of the command line.

    Returns:
        The settings, and the code that the user names in them: what the folder alone names is not among it.

    Raises:
        UserError: If a section or setting is unknown, or a value cannot be.
    """
    file = folder / "config.yaml"
    # os.path: a name too long is no file; claiming the folder says so.
    own = [(str(file), read_noted(file))] if os.path.isfile(file) else []  # noqa: PTH113
    cfg = config_of(*own, *given, options=options)
    if not code_in(cfg):
        return cfg, frozenset()
    silent = [(where, _without_code(settings)) for where, settings in own]
    return cfg, code_in(config_of(*silent, *given, options=options))


def code_in(cfg: RunConfig) -> frozenset[str]:
    """The names of code in the settings: ``module:function`` of a classifier, ``module:Class`` of a method."""
    models = (cfg.classifier.model, *cfg.sweep.grid.get("classifier.model", ()))
    return frozenset(
        name
        for name in (*models, *cfg.compare.methods, *cfg.features.decisions_of)
        if isinstance(name, str) and names_code(name)
    )


def _without_code(settings: dict[str, Any]) -> dict[str, Any]:
    """The same without the settings that may name code."""
    return {
        section: {name: value for name, value in (values or {}).items() if (section, name) not in _MAY_NAME_CODE}
        for section, values in settings.items()
    }
