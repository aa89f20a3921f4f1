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
    from sae_lens_classif.config.run import (
        BaselineConfig,
        CacheConfig,
        CompareConfig,
        DataConfig,
        EvaluateConfig,
        FinetuneConfig,
        PromptConfig,
        RunConfig,
        SAESettings,
        TrainConfig,
    )
    from sae_lens_classif.config.yaml import load_config
    from sae_lens_classif.data.texts import TextData, load_text_data
    from sae_lens_classif.errors import UserError
    from sae_lens_classif.evals.evaluate import Concept, Evaluation, evaluate
    from sae_lens_classif.explaining.explain import Explanation, explain
    from sae_lens_classif.hooks.classifier import TextClassifier
    from sae_lens_classif.hooks.load import load_classifier
    from sae_lens_classif.methods.base import ConceptMethod, FitTask, load_method
    from sae_lens_classif.methods.classif_sae import ClassifSAEConcepts
    from sae_lens_classif.methods.concept_shap import ConceptSHAP
    from sae_lens_classif.methods.hi_concept import HIConcept
    from sae_lens_classif.methods.ica import ICAConcepts
    from sae_lens_classif.methods.random_directions import RandomDirections
    from sae_lens_classif.methods.sae_probe import SAEProbeConcepts
    from sae_lens_classif.publishing.publish import publish
    from sae_lens_classif.report.write import write_report
    from sae_lens_classif.saes.classif_sae import (
        ClassifSAE,
        ClassifSAEConfig,
        ClassifTrainingSAE,
        ClassifTrainingSAEConfig,
    )
    from sae_lens_classif.saes.export import export_topk
    from sae_lens_classif.saes.paper_checkpoints import paper_disk_loader, paper_huggingface_loader
    from sae_lens_classif.saes.saebench import SAEBenchAdapter
    from sae_lens_classif.store.caching import cache_states
    from sae_lens_classif.store.store import ActivationStore
    from sae_lens_classif.training.train import train_classifsae
    from sae_lens_classif.training.trainer import ClassifSAETrainer

_HOME = {
    "ActivationStore": "store.store",
    "BaselineConfig": "config.run",
    "CacheConfig": "config.run",
    "ClassifSAE": "saes.classif_sae",
    "ClassifSAEConcepts": "methods.classif_sae",
    "ClassifSAEConfig": "saes.classif_sae",
    "ClassifSAETrainer": "training.trainer",
    "ClassifTrainingSAE": "saes.classif_sae",
    "ClassifTrainingSAEConfig": "saes.classif_sae",
    "CompareConfig": "config.run",
    "Concept": "evals.evaluate",
    "ConceptMethod": "methods.base",
    "ConceptSHAP": "methods.concept_shap",
    "DataConfig": "config.run",
    "EvaluateConfig": "config.run",
    "Evaluation": "evals.evaluate",
    "Explanation": "explaining.explain",
    "FinetuneConfig": "config.run",
    "FitTask": "methods.base",
    "HIConcept": "methods.hi_concept",
    "ICAConcepts": "methods.ica",
    "PromptConfig": "config.run",
    "RandomDirections": "methods.random_directions",
    "RunConfig": "config.run",
    "SAEBenchAdapter": "saes.saebench",
    "SAEProbeConcepts": "methods.sae_probe",
    "SAESettings": "config.run",
    "TextClassifier": "hooks.classifier",
    "TextData": "data.texts",
    "TrainConfig": "config.run",
    "UserError": "errors",
    "cache_states": "store.caching",
    "evaluate": "evals.evaluate",
    "explain": "explaining.explain",
    "export_topk": "saes.export",
    "load_classifier": "hooks.load",
    "load_config": "config.yaml",
    "load_method": "methods.base",
    "load_text_data": "data.texts",
    "paper_disk_loader": "saes.paper_checkpoints",
    "paper_huggingface_loader": "saes.paper_checkpoints",
    "publish": "publishing.publish",
    "train_classifsae": "training.train",
    "write_report": "report.write",
}

__version__ = "0.1.0"
__all__ = [
    "ActivationStore",
    "BaselineConfig",
    "CacheConfig",
    "ClassifSAE",
    "ClassifSAEConcepts",
    "ClassifSAEConfig",
    "ClassifSAETrainer",
    "ClassifTrainingSAE",
    "ClassifTrainingSAEConfig",
    "CompareConfig",
    "Concept",
    "ConceptMethod",
    "ConceptSHAP",
    "DataConfig",
    "EvaluateConfig",
    "Evaluation",
    "Explanation",
    "FinetuneConfig",
    "FitTask",
    "HIConcept",
    "ICAConcepts",
    "PromptConfig",
    "RandomDirections",
    "RunConfig",
    "SAEBenchAdapter",
    "SAEProbeConcepts",
    "SAESettings",
    "TextClassifier",
    "TextData",
    "TrainConfig",
    "UserError",
    "cache_states",
    "evaluate",
    "explain",
    "export_topk",
    "load_classifier",
    "load_config",
    "load_method",
    "load_text_data",
    "paper_disk_loader",
    "paper_huggingface_loader",
    "publish",
    "train_classifsae",
    "write_report",
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
    """Register with SAELens as soon as it is imported; importing the module does it.

    Where that module is what imports SAELens, it is half-way through and registers itself.
    """
    if f"{__name__}.saes.classif_sae" not in sys.modules:
        importlib.import_module(f"{__name__}.saes.classif_sae")


# SAELens takes seconds to import; a command line's --help need not wait for it.
register_post_import_hook(_register, "sae_lens")
