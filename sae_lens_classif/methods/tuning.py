"""Which settings of a method are tried when it is tuned: those that it declares (``MethodSpec.tune``)."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch

from sae_lens_classif.config.run import SAESettings, TrainConfig
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.methods.base import FitTask, MethodSpec

_SECTIONS = {"sae": SAESettings, "train": TrainConfig}


def drawn_settings(spec: MethodSpec, task: FitTask, n: int) -> list[dict[str, Any]]:
    """The settings that are tried: first the task's own, then others of the method's grid, drawn with the task's seed.

    Args:
        spec: The method.
        task: What it is to learn from.
        n: How many, at most; a small grid has fewer.
    """
    own = {name: getattr(getattr(task, _place(task, name)), name.rpartition(".")[2]) for name in spec.tune}
    cells = [dict(zip(spec.tune, values, strict=True)) for values in itertools.product(*spec.tune.values())]
    others = [cell for cell in cells if cell != own and _can_be(spec, task, cell)]
    order = torch.randperm(len(others), generator=torch.Generator().manual_seed(task.seed)).tolist()
    return [own, *(others[number] for number in order)][:n]


def with_settings(spec: MethodSpec, task: FitTask, settings: Mapping[str, Any]) -> FitTask:
    """The task with other settings.

    Args:
        spec: The method.
        task: What it is to learn from.
        settings: Values by the names that the method's grid has.

    Raises:
        UserError: If a value cannot be.
    """
    changed: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        changed.setdefault(_place(task, name), {})[name.rpartition(".")[2]] = value
    return replace(task, **{place: replace(getattr(task, place), **values) for place, values in changed.items()})


def _can_be(spec: MethodSpec, task: FitTask, settings: Mapping[str, Any]) -> bool:
    try:
        with_settings(spec, task, settings)
    except UserError:
        return False  # such as more active latents than the run's SAE has
    return True


def _place(task: FitTask, name: str) -> str:
    """Which attribute of a task holds a setting of a grid."""
    section = name.rpartition(".")[0]
    return section or ("baselines" if task.settings is None else "settings")


def check_grid(spec: MethodSpec) -> None:
    """Refuse a grid of what is no setting of its method.

    Raises:
        UserError: Naming what it may hold.
    """
    known = [entry.name for entry in fields(spec.settings)] if spec.settings is not None else []
    if spec.trains_sae:
        known += [f"{section}.{entry.name}" for section, kind in _SECTIONS.items() for entry in fields(kind)]
    for name, values in spec.tune.items():
        if name not in known:
            raise UserError(
                f"tune of the method {spec.name} names {name!r}, which is no setting of it; {nearest(name, known)}"
            )
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise UserError(f"tune of the method {spec.name} gives {name} {values!r}; give a tuple of values to try")
