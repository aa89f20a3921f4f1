"""Settings of the other concept methods and of their comparison."""

import math
from collections.abc import Mapping, Sized
from dataclasses import dataclass, field
from typing import Any

from sae_lens_classif.config.checks import check, limited, path, positive, require

_LARGEST_FLOAT = 2**53  # up to there each whole number has one
_MOST_CELLS = 1000  # of a sweep: each is a training, and a run folder with all its settings


@dataclass
class ProbeSettings:
    """The probe that chooses an SAE's latents.

    Args:
        probe_max_texts: The probe that chooses an SAE's latents sees so many training texts at most, drawn at random.
        probe_max_iter: Iterations of the probe's solver, at most; it stops earlier once it has converged.
    """

    probe_max_texts: int = positive(10_000)
    probe_max_iter: int = positive(5000)


@dataclass
class ICASettings:
    """Independent component analysis.

    Args:
        ica_max_iter: Iterations of FastICA, at most.
    """

    ica_max_iter: int = positive(1000)


@dataclass
class ConceptVectorSettings:
    """ConceptSHAP and HI-Concept.

    Args:
        epochs: Passes over the training texts of ConceptSHAP and HI-Concept.
        batch_size: Texts a step of theirs.
        lr: Learning rate of Adam, theirs.
        hidden_dim: Width of their decoder's hidden layer.
    """

    epochs: int = positive(100)
    batch_size: int = positive(128)
    lr: float = positive(3e-4)
    hidden_dim: int = positive(512)


@dataclass
class BaselineConfig(ConceptVectorSettings, ICASettings, ProbeSettings):
    """Concept methods that train no sparse autoencoder of their own."""

    def __post_init__(self) -> None:
        check("baselines", self)


@dataclass
class CompareConfig:
    """Which concept methods are compared.

    Args:
        methods: Their names, as ``classifsae,topk_sae,ica``; ``sae:FOLDER`` or ``sae:RELEASE:SAE_ID`` for any SAE
            that SAELens loads; ``module:Class`` for a method of your own.
        seeds: Each method is fitted once with each seed.
        settings: Of methods from other packages, as ``{pca: {whiten: true}}``.
        tune: So many settings of each method are tried on training texts that are held out, and the best are used;
            the first are those of the run. 0: those of the run, untried.
    """

    methods: tuple[str, ...] = path(
        (
            "classifsae",
            "clusters",
            "topk_sae",
            "classifier_only",
            "rate_only",
            "all_latents",
            "ica",
            "concept_shap",
            "hi_concept",
            "random_directions",
            "permuted_labels",
        )
    )
    seeds: tuple[int, ...] = limited((0,), least=0)
    # Words first, as in a grid.
    settings: dict[str, dict[str, str | bool | int | float | list[Any] | None]] = field(default_factory=dict)
    tune: int = limited(0, least=0)

    def __post_init__(self) -> None:
        check("compare", self)
        for name in ("methods", "seeds"):
            values = getattr(self, name)
            require(bool(values), f"compare.{name} is empty; name at least one")
            require(len(set(values)) == len(values), f"compare.{name} is {list(values)}; name each once")


@dataclass
class SweepConfig:
    """A grid of settings, one training and evaluation each.

    Args:
        grid: Values of each setting, as ``{sae.gamma: [0.05, 0.1], train.seed: [0, 1, 2]}``. On the command line
            ``--grid sae.gamma=0.05,0.1 --grid train.seed=0,1,2``.
    """

    # Words first: the parser would take a word that looks like a number for one.
    grid: dict[str, list[str | bool | int | float | list[Any] | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check("sweep", self)
        check_cells(self.grid)
        for name, values in self.grid.items():
            require(bool(values), f"sweep.grid has no value for {name}; give at least one, as {name}=1,2")
            require(len(set(map(_key, values))) == len(values), f"sweep.grid names a value of {name} twice")


def check_cells(grid: Any) -> None:
    """Refuse a grid of more cells than a sweep may have; also one that is only read: to check its values takes long.

    Args:
        grid: Values of each setting, by name; anything else has no cells.

    Raises:
        UserError: If there are more.
    """
    values = grid.values() if isinstance(grid, Mapping) else ()
    n_cells = math.prod(len(of_one) for of_one in values if isinstance(of_one, Sized))
    require(n_cells <= _MOST_CELLS, f"sweep.grid has {n_cells:,} cells; it may have {_MOST_CELLS:,} at most")


def _key(value: Any) -> str:
    """1 and 1.0 are the same; true and 1 are not. No float counts as far as some whole numbers, which no setting is."""
    return repr(float(value) if type(value) is int and abs(value) < _LARGEST_FLOAT else value)
