"""The public names and where each lives: the one list, which ``__init__.py`` and type checkers read."""

from .audit.diff import Diff as Diff
from .audit.diff import diff as diff
from .audit.stability import stability as stability
from .audit.stable_concepts import Stability as Stability
from .config.classifier import CacheConfig as CacheConfig
from .config.classifier import DataConfig as DataConfig
from .config.classifier import FinetuneConfig as FinetuneConfig
from .config.classifier import PromptConfig as PromptConfig
from .config.methods import BaselineConfig as BaselineConfig
from .config.methods import CompareConfig as CompareConfig
from .config.run import EvaluateConfig as EvaluateConfig
from .config.run import RunConfig as RunConfig
from .config.run import SAESettings as SAESettings
from .config.run import TrainConfig as TrainConfig
from .config.yaml import load_config as load_config
from .data.texts import TextData as TextData
from .data.texts import load_text_data as load_text_data
from .errors import UserError as UserError
from .evals.evaluate import Concept as Concept
from .evals.evaluate import Evaluation as Evaluation
from .evals.evaluate import evaluate as evaluate
from .explaining.explain import explain as explain
from .explaining.explanation import Explanation as Explanation
from .hooks.classifier import TextClassifier as TextClassifier
from .hooks.functions import classifier_from as classifier_from
from .hooks.load import load_classifier as load_classifier
from .methods.base import ConceptMethod as ConceptMethod
from .methods.base import FitTask as FitTask
from .methods.base import load_method as load_method
from .methods.classif_sae import ClassifSAEConcepts as ClassifSAEConcepts
from .methods.concept_vectors import ConceptSHAP as ConceptSHAP
from .methods.concept_vectors import HIConcept as HIConcept
from .methods.ica import ICAConcepts as ICAConcepts
from .methods.random_directions import RandomDirections as RandomDirections
from .methods.sae_probe import SAEProbeConcepts as SAEProbeConcepts
from .publishing.publish import publish as publish
from .report.page import write_report as write_report
from .runs.across import across as across
from .saes.classif_sae import ClassifSAE as ClassifSAE
from .saes.classif_sae import ClassifSAEConfig as ClassifSAEConfig
from .saes.classif_sae import ClassifTrainingSAE as ClassifTrainingSAE
from .saes.classif_sae import ClassifTrainingSAEConfig as ClassifTrainingSAEConfig
from .saes.export import export_topk as export_topk
from .saes.paper_checkpoints import paper_disk_loader as paper_disk_loader
from .saes.paper_checkpoints import paper_huggingface_loader as paper_huggingface_loader
from .saes.saebench import SAEBenchAdapter as SAEBenchAdapter
from .store.caching import cache_states as cache_states
from .store.store import ActivationStore as ActivationStore
from .training.train import train_classifsae as train_classifsae
from .training.trainer import ClassifSAETrainer as ClassifSAETrainer

__version__: str
__all__: list[str]
