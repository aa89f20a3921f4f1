"""Any SAE with a probe: its concepts are the latents that tell the model's classes apart."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import torch
from sae_lens import SAE
from sklearn.model_selection import StratifiedKFold
from tqdm.auto import tqdm
from typing_extensions import override

from sae_lens_classif.config.methods import ProbeSettings
from sae_lens_classif.errors import UserError
from sae_lens_classif.hub import cache_alone, hub_is_reachable, hub_unreachable_message
from sae_lens_classif.methods.base import ConceptMethod, FitTask
from sae_lens_classif.methods.classif_sae import RATE_LOSS, TOPK, of_the_paper, put_norm_back, train_sae
from sae_lens_classif.methods.l1_regression import Coefficients, LabelledLatents, fit_l1
from sae_lens_classif.reading import refuse_devices, refuse_pickles
from sae_lens_classif.saes.export import export_topk

STRENGTHS = (0.01, 0.1, 1.0)
FOLDS = 3
SOLVER = "probe by L-BFGS-B"  # fits whose probe another solver left unfinished chose other latents
_CHUNK = 8192


def probe_latents(
    latents: torch.Tensor, predicted: torch.Tensor, n_concepts: int, cfg: ProbeSettings, seed: int
) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Choose the latents with the largest coefficients of an L1 multinomial logistic regression.

    Standardised activations, balanced class weights, strength by stratified 3-fold cross-validation.

    Args:
        latents: float (N, d_sae), activations.
        predicted: int64 (N,), the model's classes.
        n_concepts: How many latents to choose, n.
        cfg: ``probe_max_iter``.
        seed: Seed of the folds.

    Returns:
        The latents, int64 (n,), the largest norm over classes first; and notes about the fit.

    Raises:
        UserError: If there is one class alone, or one has fewer texts than folds.
    """
    counts = predicted.unique(return_counts=True)[1]
    if len(counts) == 1:
        raise UserError(
            "the model predicts one class alone for the training texts, so a probe has nothing to tell apart; use a "
            "classifier that tells two classes apart"
        )
    rarest = int(counts.min())
    if rarest < FOLDS:
        raise UserError(
            f"the probe needs {FOLDS} texts of every predicted class, the rarest has {rarest}; "
            "use more training texts, or raise baselines.probe_max_texts"
        )
    data = LabelledLatents.of(latents.numpy(), predicted.numpy())
    fit = _choose_strength(data, cfg.probe_max_iter, seed)
    norms = torch.from_numpy(np.linalg.norm(fit.slopes, axis=1))
    chosen = norms.argsort(descending=True, stable=True)[:n_concepts]
    return chosen, _notes(fit.converged, int((norms > 0).sum()), n_concepts, cfg)


def _choose_strength(data: LabelledLatents, max_iter: int, seed: int) -> Coefficients:
    """The solution for all texts, with the strength that is most accurate on left-out ones; of equal ones the least."""
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(data.classes, data.classes))
    accuracy = np.zeros((FOLDS, len(STRENGTHS)))
    with tqdm(total=FOLDS * len(STRENGTHS) + 1, desc="Choosing latents", unit=" fits") as progress:
        for fold, (learned, left_out) in enumerate(folds):
            fit = data.start()
            for number, strength in enumerate(STRENGTHS):
                fit = _fit(data.at(learned), strength, fit, max_iter)
                accuracy[fold, number] = data.at(left_out).accuracy(fit)
                progress.update()
        best = STRENGTHS[int(accuracy.mean(axis=0).argmax())]
        fit = _fit(data, best, data.start(), max_iter)
        progress.update()
    return fit


def _fit(data: LabelledLatents, strength: float, start: Coefficients, max_iter: int) -> Coefficients:
    """One solution; the bar below that of all says how many iterations it took so far, and how many it may."""
    with tqdm(total=max_iter, desc=f"Probe, C = {strength:g}", unit=" iterations", delay=1, leave=False) as progress:
        return fit_l1(data, strength, start, max_iter, on_iteration=progress.update)


def _notes(converged: bool, n_used: int, n_concepts: int, cfg: ProbeSettings) -> tuple[str, ...]:
    notes = []
    if not converged:
        notes.append(f"the probe did not converge in {cfg.probe_max_iter} iterations (baselines.probe_max_iter)")
    if n_used < n_concepts:
        notes.append(f"the probe uses {n_used} latents, fewer than the {n_concepts} concepts asked for")
    return tuple(notes)


@dataclass
class SAEProbeConcepts(ConceptMethod, name="sae_probe", title="", settings=ProbeSettings, source=SOLVER):
    """The latents of any SAELens SAE that a sparse probe of the model's classes uses most.

    The scale of what ``decode`` gives is the SAE's own: a norm that it takes from each hidden state before encoding
    (``constant_norm_rescale``, ``layer_norm``) is not put back, nor is that state's mean.

    Attributes:
        saelens_sae: The SAE.
        latents: int64 (n,), its latents that are the concepts.
    """

    saelens_sae: SAE[Any]
    latents: torch.Tensor

    @override
    @classmethod
    def fit(cls, task: FitTask) -> Self:
        """A TopK SAE trained on reconstruction alone, then the probe."""
        topk = of_the_paper(task, activation_rate_coefficient=0.0, classifier_coefficient=0.0, mse_coefficient=1.0)
        return cls.from_trained(topk, task.n_concepts)

    @classmethod
    def from_trained(cls, task: FitTask, head_concepts: int) -> Self:
        """Train an SAE with the task's loss, then choose its concepts by the probe.

        Args:
            task: What to learn from; its ``sae`` says with which loss.
            head_concepts: How many latents feed the head, if that is trained.
        """
        with TemporaryDirectory() as folder:
            export_topk(train_sae(replace(task, n_concepts=head_concepts)), Path(folder) / "sae")
            return cls.from_sae(SAE.load_from_disk(Path(folder) / "sae"), task)

    @classmethod
    def from_sae(cls, sae: SAE[Any], task: FitTask) -> Self:
        """Choose the concepts of an SAE by the probe.

        Args:
            sae: Any SAE of the task's hook.
            task: What to learn from.

        Raises:
            UserError: If the SAE does not fit the hidden states, or has fewer latents than concepts are asked for.
        """
        check_fits(sae, task.store.d_in, task.n_concepts)
        rows = torch.randperm(len(task.hidden), generator=torch.Generator().manual_seed(task.seed))
        rows = rows[: task.baselines.probe_max_texts].sort().values
        if task.store.multi_label:  # a set of labels that hardly ever occurs is no class to tell apart
            groups = task.groups[rows]
            rows = rows[groups.bincount()[groups] >= FOLDS]
        latents = torch.cat([_encode(sae, part) for part in task.hidden[rows].split(_CHUNK)])
        chosen, notes = probe_latents(latents, task.groups[rows], task.n_concepts, task.baselines, task.seed)
        method = cls(sae, chosen)
        hook, of_task = sae.cfg.metadata.hook_name, task.store.hook_name
        if hook not in (None, of_task):
            notes = (f"the SAE was trained at {hook}, the hidden states are from {of_task}", *notes)
        method.notes = notes
        return method

    @override
    def autoencoder(self) -> SAE[Any]:
        return self.saelens_sae

    @override
    def encode(self, hidden: torch.Tensor) -> torch.Tensor:
        return _encode(self.saelens_sae, hidden)[:, self.latents]

    @override
    @torch.no_grad()
    def decode(self, concepts: torch.Tensor) -> torch.Tensor:
        sae = copy.copy(self.saelens_sae)
        vars(sae)["run_time_activation_norm_fn_out"] = lambda x: x  # it would put back the norm of another text
        latents = torch.zeros(len(concepts), sae.cfg.d_sae, dtype=sae.dtype, device=sae.device)
        latents[:, self.latents.to(sae.device)] = concepts.to(sae.device, sae.dtype)
        return sae.decode(latents).float().cpu()

    @override
    def in_own_norm(self, decoded: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        return put_norm_back(self.saelens_sae, decoded, hidden)

    @override
    def directions(self) -> torch.Tensor:
        return self.saelens_sae.W_dec[self.latents.to(self.saelens_sae.device)].detach().float().cpu()


@torch.no_grad()
def _encode(sae: SAE[Any], hidden: torch.Tensor) -> torch.Tensor:
    latents: torch.Tensor = sae.encode(hidden.to(sae.device, sae.dtype))
    return latents.float().cpu()


def check_fits(sae: SAE[Any], d_in: int, n_concepts: int) -> None:
    """Refuse an SAE of other hidden states, or with too few latents.

    Args:
        sae: The SAE.
        d_in: Width of the hidden states.
        n_concepts: How many concepts are asked for.

    Raises:
        UserError: If ``d_in`` differs, or there are fewer latents than concepts.
    """
    if sae.cfg.d_in != d_in:
        raise UserError(
            f"the SAE has d_in {sae.cfg.d_in}, the model's hidden states have {d_in}; use an SAE of this model and hook"
        )
    if sae.cfg.d_sae < n_concepts:
        raise UserError(
            f"the SAE has {sae.cfg.d_sae} latents, fewer than the {n_concepts} concepts asked for (sae.n_concepts)"
        )


@SAEProbeConcepts.variant(name="topk_sae", title="TopK SAE + probe", tune=TOPK)
def fit_topk_sae(task: FitTask) -> SAEProbeConcepts:
    """A TopK SAE trained on reconstruction alone."""
    return SAEProbeConcepts.fit(task)


@SAEProbeConcepts.variant(name="rate_only", title="Rate only + probe", tune=RATE_LOSS)
def fit_rate_only(task: FitTask) -> SAEProbeConcepts:
    """The component study's activation-rate loss without the joint classifier."""
    return SAEProbeConcepts.from_trained(of_the_paper(task, classifier_coefficient=0.0), task.n_concepts)


@SAEProbeConcepts.variant(name="all_latents", title="All latents + probe", tune=RATE_LOSS)
def fit_all_latents(task: FitTask) -> SAEProbeConcepts:
    """The component study without a sub-setting: all latents feed the head, the probe chooses the concepts."""
    d_sae = int(task.sae.sized(task.store.n_classes, task.store.d_in, task.store.multi_label).d_sae)
    return SAEProbeConcepts.from_trained(of_the_paper(task), d_sae)


def check_named(source: str) -> None:
    """Refuse what ``load_sae`` cannot find, before anything is loaded.

    Args:
        source: As there.

    Raises:
        UserError: If it is no folder and no release.
    """
    if not Path(source).is_dir() and ":" not in source:
        raise UserError(f"there is no folder {source!r}; give a folder with an SAE, or RELEASE:SAE_ID")


def load_sae(source: str) -> SAE[Any]:
    """Load any SAE that SAELens can.

    Args:
        source: A folder, or ``RELEASE:SAE_ID`` with a release of SAELens or a repository of the Hub.

    Raises:
        UserError: If there is none, or SAELens cannot read it.
    """
    folder = Path(source)
    check_named(source)
    refuse_devices(folder)
    refuse_pickles(folder)
    offline = not folder.is_dir() and not hub_is_reachable()
    try:
        if folder.is_dir():
            return SAE.load_from_disk(folder)
        release, _, sae_id = source.partition(":")
        with cache_alone(offline):
            return SAE.from_pretrained(release, sae_id)
    except Exception as error:  # SAELens and the Hub raise all kinds
        if offline and isinstance(error, OSError):  # not where the release or the SAE's name is wrong
            raise UserError(hub_unreachable_message(f"the SAE {source!r}")) from error
        raise UserError(f"SAELens cannot load {source!r}: {type(error).__name__}: {error}") from error
