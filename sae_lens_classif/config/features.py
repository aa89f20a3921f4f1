"""Settings of ``features``: which features of texts are tried as a classifier's input."""

from dataclasses import dataclass
from typing import Literal

from sae_lens_classif.artifacts import incidental
from sae_lens_classif.config.checks import check, limited, path, positive


@dataclass
class FeaturesConfig:
    """Which features of texts classify them, whatever model they are of.

    Args:
        model: The language model that reads the texts: a local folder or a name on the Hub. Default: the classifier
            of the run.
        saes: SAEs of it: folders, or RELEASE:SAE_ID of SAELens or the Hub; MODEL=SAE is one of another model, which is
            read after the first.
        hidden: Hooks of every model whose hidden states stand beside them. Default: those that the SAEs read.
        embeddings: A sentence encoder, a folder or a name on the Hub, whose embeddings are one more baseline. Default:
            none.
        poolings: How a text's tokens become one row: ``last``, ``mean``, ``max``, ``sum``, ``counts20`` (how often a
            feature is among the 20 most active ones of a token).
        thresholds: Features are tried as they are, and as ones where they are above each of these.
        n_features: Numbers of best features that are tried beside all.
        selection: Which are best: by the difference of their means, by mutual information, or by an L1 penalty.
        classifier: Logistic regression, a decision tree, or the class whose mean is nearest.
        n_folds: Folds of the cross-validation on the training texts, by which settings are picked.
        special_tokens: Whether BOS, ``[CLS]`` and the like are a text's own tokens, too.
        untrained: Whether an SAE of each kind with random weights stands beside it.
        dtype: Precision the model runs in.
        device: ``cpu``, ``cuda`` ... Default: a GPU if there is one.
        backend: What runs the model. Default: ``transformers``, which is faster and runs any.
        seed: Of the folds, the trees and the random baselines.
        n_bootstrap: Resamplings of the test texts behind each 95 % interval.
        shard_size: Texts a file.
        max_batch_tokens: Tokens, padding included, of one forward pass. Default: few enough for the machine.
    """

    model: str | None = path(None)
    saes: tuple[str, ...] = path(())
    hidden: tuple[str, ...] = ()
    embeddings: str | None = path(None)
    poolings: tuple[str, ...] = ("last", "mean", "max", "counts20")
    thresholds: tuple[float, ...] = limited((1.0,), least=0)
    n_features: tuple[int, ...] = positive(())
    selection: Literal["mean_difference", "mutual_information", "l1"] = "mean_difference"
    classifier: Literal["logistic", "tree", "prototype"] = "logistic"
    n_folds: int = limited(5, least=2)
    special_tokens: bool = False
    untrained: bool = True
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str | None = incidental(None)
    backend: Literal["hooked_transformer", "transformers"] | None = None
    seed: int = limited(42, least=0, below=2**32)  # NumPy's
    n_bootstrap: int = positive(1000)
    shard_size: int = positive(incidental(2048))
    max_batch_tokens: int | None = positive(incidental(None))

    def __post_init__(self) -> None:
        check("features", self)
