"""Features of texts: one pass of the model, any number of SAEs and hooks, pooled as they come."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import vstack as stacked
from tqdm.std import tqdm

from sae_lens_classif.artifacts import Artifact
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.features.pooling import Pooling, pool, pool_dense
from sae_lens_classif.features.sources import FeatureSource
from sae_lens_classif.features.store import Column, FeaturePlan, FeatureStore, FeatureWriter, Rows, column_of
from sae_lens_classif.hooks.token_states import TokenReader
from sae_lens_classif.store.shards import MANIFEST

logger = logging.getLogger(__name__)


def cache_features(
    reader: TokenReader,
    data: TextData,
    sources: Sequence[FeatureSource],
    poolings: Sequence[Pooling],
    folder: str | Path,
    *,
    special_tokens: bool = False,
    shard_size: int = 2048,
    max_batch_tokens: int | None = None,
    is_current: Callable[[Artifact], bool] = Artifact.is_current,
) -> FeatureStore:
    """Store features of every text; what a killed run stored is kept.

    Args:
        reader: The language model.
        data: The texts.
        sources: SAEs and hidden layers of this model.
        poolings: How a row is made of a text's tokens; counts are of SAEs alone.
        folder: Where the features are, or will be.
        special_tokens: Whether BOS, ``[CLS]`` and the like are a text's own tokens, too; padding never is.
        shard_size: Texts a file.
        max_batch_tokens: Tokens of one pass. Default: few enough for the machine.
        is_current: Whether features that are there were made from this; it may delete those that are to be made anew.

    Returns:
        The store.

    Raises:
        UserError: If nothing is asked for, features are there that were made from something else, a state is not
            finite, or the disk is full.
    """
    folder = Path(folder)
    columns = columns_of(sources, poolings)
    if not columns:
        raise UserError("no features are asked for; give at least one SAE or hidden layer, and a pooling that it has")
    plan = FeaturePlan(
        model_name=reader.name,
        model=reader.fingerprint,
        data=data.fingerprint(),
        reading={"max_tokens": reader.inputs.max_tokens, "special_tokens": special_tokens, "dtype": reader.dtype},
        columns=columns,
        n_texts=len(data),
        shard_size=shard_size,
    )
    # How the model is called does not matter: a run that was moved calls its own by another path.
    made_from = {name: value for name, value in plan.manifest().items() if name != "model_name"}
    if is_current(Artifact(folder, folder / MANIFEST, made_from, ("made_from",))):
        logger.info("features: reusing %s", folder)
        return FeatureStore(folder)
    writer = FeatureWriter(folder, plan)
    missing = list(writer.missing())
    n_missing = sum(len(texts) for _, texts in missing)
    with tqdm(total=len(data), initial=len(data) - n_missing, desc=f"Reading {folder.name}", unit=" texts") as progress:
        for number, texts in missing:
            part = data.texts[texts.start : texts.stop]
            rows, n_tokens = _pooled(reader, part, sources, poolings, special_tokens, max_batch_tokens, progress)
            writer.write(number, rows, n_tokens)
    writer.finish()
    return FeatureStore(folder)


def columns_of(sources: Sequence[FeatureSource], poolings: Sequence[Pooling]) -> tuple[Column, ...]:
    """What is kept of each text: every pooling of every source that has it."""
    return tuple(
        column_of(source.name, source.hook, pooling, source.width, source.is_sparse, source.fingerprint)
        for source in sources
        for pooling in _poolings_of(source, poolings)
    )


def _poolings_of(source: FeatureSource, poolings: Sequence[Pooling]) -> list[Pooling]:
    return [pooling for pooling in poolings if source.is_sparse or pooling.how != "counts"]


def _pooled(
    reader: TokenReader,
    texts: Sequence[str],
    sources: Sequence[FeatureSource],
    poolings: Sequence[Pooling],
    special_tokens: bool,
    max_batch_tokens: int | None,
    progress: "tqdm[Any]",
) -> tuple[list[Rows], npt.NDArray[np.int64]]:
    """For each column the rows of some texts, in order, and how many tokens each text has."""
    hooks = list(dict.fromkeys(source.hook for source in sources))
    batches, order, n_tokens = list[list[Rows]](), list[int](), np.zeros(len(texts), np.int64)
    for read in reader.read(texts, hooks, special_tokens=special_tokens, max_batch_tokens=max_batch_tokens):
        lengths = read.lengths.numpy()
        n_tokens[read.texts] = lengths
        order += read.texts
        rows = list[Rows]()
        for source in sources:
            tokens = source.of_tokens(read.streams[hooks.index(source.hook)])
            rows += [
                pool(tokens, lengths, pooling) if source.is_sparse else pool_dense(tokens, lengths, pooling)
                for pooling in _poolings_of(source, poolings)
            ]
        batches.append(rows)
        progress.update(len(read.texts))
    back = np.argsort(order)
    return [_together(parts)[back] for parts in zip(*batches, strict=True)], n_tokens


def _together(parts: Sequence[Rows]) -> Rows:
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else stacked(parts, format="csr")
