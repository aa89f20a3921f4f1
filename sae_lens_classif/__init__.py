"""Which concepts does a language model use when it classifies text? ClassifSAE for SAELens.

Importing this package registers the architecture ``classifsae`` with SAELens, before or after SAELens itself is
imported, so that ``SAE.load_from_disk(folder)`` returns a ``ClassifSAE``. The names below are loaded when they
are first used.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from wrapt import register_post_import_hook

if TYPE_CHECKING:
    from sae_lens_classif.caching import cache_states
    from sae_lens_classif.concept_method import ClassifSAEConcepts, ConceptMethod
    from sae_lens_classif.config import (
        CacheConfig,
        DataConfig,
        EvaluateConfig,
        FinetuneConfig,
        PromptConfig,
        RunConfig,
        SAESettings,
        TrainConfig,
    )
    from sae_lens_classif.config_file import load_config
    from sae_lens_classif.data import TextData, load_text_data
    from sae_lens_classif.errors import UserError
    from sae_lens_classif.evaluating import Concept, Evaluation, evaluate
    from sae_lens_classif.export import export_topk
    from sae_lens_classif.hooks.classifier import TextClassifier
    from sae_lens_classif.hooks.open_classifier import load_classifier
    from sae_lens_classif.sae import ClassifSAE, ClassifSAEConfig
    from sae_lens_classif.store import ActivationStore
    from sae_lens_classif.trainer import ClassifSAETrainer
    from sae_lens_classif.training import train_classifsae
    from sae_lens_classif.training_sae import ClassifTrainingSAE, ClassifTrainingSAEConfig

_HOME = {
    "ActivationStore": "store",
    "CacheConfig": "config",
    "ClassifSAE": "sae",
    "ClassifSAEConcepts": "concept_method",
    "ClassifSAEConfig": "sae",
    "ClassifSAETrainer": "trainer",
    "ClassifTrainingSAE": "training_sae",
    "ClassifTrainingSAEConfig": "training_sae",
    "Concept": "evaluating",
    "ConceptMethod": "concept_method",
    "DataConfig": "config",
    "EvaluateConfig": "config",
    "Evaluation": "evaluating",
    "FinetuneConfig": "config",
    "PromptConfig": "config",
    "RunConfig": "config",
    "SAESettings": "config",
    "TextClassifier": "hooks.classifier",
    "TextData": "data",
    "TrainConfig": "config",
    "UserError": "errors",
    "cache_states": "caching",
    "evaluate": "evaluating",
    "export_topk": "export",
    "load_classifier": "hooks.open_classifier",
    "load_config": "config_file",
    "load_text_data": "data",
    "train_classifsae": "training",
}

__version__ = "0.1.0"
__all__ = [
    "ActivationStore",
    "CacheConfig",
    "ClassifSAE",
    "ClassifSAEConcepts",
    "ClassifSAEConfig",
    "ClassifSAETrainer",
    "ClassifTrainingSAE",
    "ClassifTrainingSAEConfig",
    "Concept",
    "ConceptMethod",
    "DataConfig",
    "EvaluateConfig",
    "Evaluation",
    "FinetuneConfig",
    "PromptConfig",
    "RunConfig",
    "SAESettings",
    "TextClassifier",
    "TextData",
    "TrainConfig",
    "UserError",
    "cache_states",
    "evaluate",
    "export_topk",
    "load_classifier",
    "load_config",
    "load_text_data",
    "train_classifsae",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register(_: Any) -> None:
    """Register with SAELens as soon as it is imported; importing the modules does it.

    Where one of them is what imports SAELens, it is half-way through and registers both itself.
    """
    if not {f"{__name__}.sae", f"{__name__}.training_sae"} & sys.modules.keys():
        importlib.import_module(f"{__name__}.training_sae")


# SAELens takes seconds to import; a command line's --help need not wait for it.
register_post_import_hook(_register, "sae_lens")
