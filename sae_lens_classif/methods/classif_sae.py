"""The concepts of a ClassifSAE: its first latents."""

import tempfile
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from sae_lens import SAE
from typing_extensions import override

from sae_lens_classif.config.run import RECIPES, Recipe, SAESettings, TrainConfig
from sae_lens_classif.methods.base import ConceptMethod, FitTask
from sae_lens_classif.saes.classif_sae import ClassifSAE, ClassifTrainingSAE
from sae_lens_classif.training.train import new_training_sae, train_classifsae

# What is tried: of the paper's loss, of the recipe `robust`, of an SAE without the activation-rate loss.
RATE_LOSS = {
    "sae.gamma": (0.05, 0.1, 0.2),
    "sae.activation_rate_coefficient": (0.01, 0.02, 0.05),
    "train.lr": (5e-5, 2e-4, 1e-3),
}
ROBUST = {
    "sae.balance_coefficient": (0.03, 0.1, 0.3),
    "sae.model_coefficient": (0.5, 1.0, 2.0),
    "train.lr": (5e-5, 2e-4, 1e-3),
}
TOPK = {"sae.k": (5, 10, 20), "train.lr": (5e-5, 2e-4, 1e-3)}


@dataclass
class ClassifSAEConcepts(ConceptMethod, name="classifsae", title="ClassifSAE", settings=None, tune=ROBUST):
    """The first latents of a ``ClassifSAE`` (Le Bail et al., arXiv 2506.23951).

    Attributes:
        classif_sae: A trained ClassifSAE.
    """

    classif_sae: ClassifSAE

    @override
    @classmethod
    def fit(cls, task: FitTask) -> Self:
        return cls(train_sae(task))

    @override
    def autoencoder(self) -> ClassifSAE:
        return self.classif_sae

    @override
    @torch.no_grad()
    def encode(self, hidden: torch.Tensor) -> torch.Tensor:
        sae = self.classif_sae
        # The top k are taken among all latents, not among the concepts.
        return sae.encode(hidden.to(sae.device))[:, : sae.cfg.n_concepts].cpu()

    @override
    @torch.no_grad()
    def decode(self, concepts: torch.Tensor) -> torch.Tensor:
        return self.classif_sae.decode_concepts(concepts.to(self.classif_sae.device)).cpu()

    @override
    def in_own_norm(self, decoded: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        return put_norm_back(self.classif_sae, decoded, hidden)

    @override
    def directions(self) -> torch.Tensor:
        return self.classif_sae.W_dec[: self.classif_sae.cfg.n_concepts].detach().float().cpu()


def as_concept_method(method: ConceptMethod | ClassifSAE) -> ConceptMethod:
    """A concept method as it is, a ClassifSAE as the method of its own concepts."""
    return ClassifSAEConcepts(method) if isinstance(method, ClassifSAE) else method


@torch.no_grad()
def put_norm_back(sae: SAE[Any], decoded: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Undo on decoded states what ``normalize_activations`` did to the hidden states before they were encoded.

    Args:
        sae: Any SAE.
        decoded: float (B, d_in), in the SAE's own scale.
        hidden: float (B, d_in), the hidden states.

    Returns:
        float32 (B, d_in), on the CPU.
    """
    own = vars(sae)
    own["run_time_activation_norm_fn_in"](hidden.to(sae.device, sae.dtype))  # notes what it divides by, for the next
    back: torch.Tensor = own["run_time_activation_norm_fn_out"](decoded.to(sae.device, sae.dtype))
    return back.float().cpu()


def train_sae(task: FitTask) -> ClassifSAE:
    """Train a ClassifSAE with a task's settings and give its inference form."""
    settings, train = _settings_of(task)
    return _for_inference(train_classifsae(task.store, settings, train, classifier=task.classifier))


def _settings_of(task: FitTask) -> tuple[SAESettings, TrainConfig]:
    return replace(task.sae, n_concepts=task.n_concepts), replace(task.train, seed=task.seed)


def _for_inference(sae: ClassifTrainingSAE) -> ClassifSAE:
    with tempfile.TemporaryDirectory() as folder:
        sae.save(folder)
        return ClassifSAE.load_from_disk(folder)


@ClassifSAEConcepts.variant(name="classifsae_reference", title="ClassifSAE, as in the paper", tune=RATE_LOSS)
def fit_reference(task: FitTask) -> ClassifSAEConcepts:
    """The paper's ClassifSAE, whatever recipe the settings name."""
    return ClassifSAEConcepts.fit(of_the_paper(task))


def of_the_paper(task: FitTask, **changes: Any) -> FitTask:
    """A task with the paper's recipe.

    Args:
        task: Its other settings stay.
        changes: Settings of the SAE that the paper's component study changes.
    """
    return _by_recipe(task, "reference", **changes)


def _by_recipe(task: FitTask, recipe: Recipe, **changes: Any) -> FitTask:
    return replace(task, sae=replace(task.sae, recipe=recipe, **RECIPES[recipe], **changes))


@ClassifSAEConcepts.variant(name="clusters", title="Clusters, untrained")
def fit_clusters(task: FitTask) -> ClassifSAEConcepts:
    """A ClassifSAE at the start of the recipe ``robust``: clusters of the texts of each class, before any training."""
    return ClassifSAEConcepts(_for_inference(new_training_sae(task.store, *_settings_of(_by_recipe(task, "robust")))))


@ClassifSAEConcepts.variant(name="classifier_only", title="Classifier only", tune=TOPK)
def fit_classifier_only(task: FitTask) -> ClassifSAEConcepts:
    """The component study's joint classifier without the activation-rate loss."""
    return ClassifSAEConcepts.fit(of_the_paper(task, activation_rate_coefficient=0.0))


@ClassifSAEConcepts.variant(name="permuted_labels", title="Permuted labels")
def fit_permuted_labels(task: FitTask) -> ClassifSAEConcepts:
    """A control: a ClassifSAE whose head learns predicted classes that were shuffled over the texts."""
    predicted = task.store.read("predicted")
    order = torch.randperm(len(predicted), generator=torch.Generator().manual_seed(task.seed))
    return ClassifSAEConcepts.fit(replace(task, store=task.store.relabelled(predicted[order])))
