"""``features``: do features of an SAE classify texts, which, and better than what?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sae_lens_classif.checksums import sha256_of_json, write_json
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.features.baselines import untrained
from sae_lens_classif.features.caching import cache_features
from sae_lens_classif.features.classifiers import ClassifierSettings
from sae_lens_classif.features.pooling import Pooling
from sae_lens_classif.features.sources import UNTRAINED, FeatureSource, HiddenSource, SAESource
from sae_lens_classif.features.store import FeatureStore
from sae_lens_classif.features.study import Study, StudySettings, study
from sae_lens_classif.features.tables import to_markdown
from sae_lens_classif.files import write_text
from sae_lens_classif.hooks.load import CLASSIFIER_FILE
from sae_lens_classif.hooks.token_states import TokenReader, open_reader
from sae_lens_classif.methods.sae_probe import load_sae
from sae_lens_classif.runs.folder import RunFolder


@dataclass(frozen=True)
class RunFeatures:
    """Features of a run's texts, and what they were made with.

    Attributes:
        data: Training and test texts.
        stores: Their features.
        reader: The language model.
        sources: SAEs and hidden layers.
        beside: Names of those sources that are baselines, hidden layers aside.
    """

    data: tuple[TextData, TextData]
    stores: tuple[FeatureStore, FeatureStore]
    reader: TokenReader
    sources: list[FeatureSource]
    beside: list[str]


def features_step(run: RunFolder) -> Study:
    """Fit a classifier on features of the training texts, for every SAE and pooling, beside baselines.

    Makes ``features/``: the features of both splits, each fit, ``study.{json,md}``; what is there is reused.

    Raises:
        UserError: If no model or no SAE is given, an SAE is of another model, or a pooling does not exist.
    """
    return study_of(run, features_of(run))


def features_of(run: RunFolder) -> RunFeatures:
    """Read the run's texts with its model and SAEs, or what was stored of them; errors as of ``features_step``."""
    cfg = run.cfg.features
    poolings = [Pooling.of(words) for words in dict.fromkeys(cfg.poolings)]
    if not cfg.saes:
        raise UserError("features.saes is empty; give an SAE: a folder, or RELEASE:SAE_ID")
    saes = {name: load_sae(name) for name in dict.fromkeys(cfg.saes)}
    data = run.texts("train"), run.texts("test")
    reader = open_reader(_model_of(run), getattr(torch, cfg.dtype), cfg.device, cfg.backend)
    sources: list[FeatureSource] = [SAESource(name, sae, reader) for name, sae in saes.items()]
    hooks = cfg.hidden or tuple(source.hook for source in sources)
    beside = [
        SAESource(f"{UNTRAINED}{name}", untrained(sae, cfg.seed), reader)
        for name, sae in (saes if cfg.untrained else {}).items()
    ]
    sources += [*beside, *(HiddenSource(hook, reader) for hook in dict.fromkeys(hooks))]
    stores = [
        store_features(run, split, of, reader, sources, poolings)
        for split, of in zip(("train", "test"), data, strict=True)
    ]
    return RunFeatures(data, (stores[0], stores[1]), reader, sources, [source.name for source in beside])


def study_of(run: RunFolder, of: RunFeatures) -> Study:
    """Study a run's features; makes ``study.{json,md}``."""
    found = study(of.stores, of.data, run.folder / "features" / "fits", _settings(run), of.beside)
    write_json(run.folder / "features" / "study.json", found.model_dump(mode="json"))
    write_text(run.folder / "features" / "study.md", to_markdown(found))
    return found


def _model_of(run: RunFolder) -> str:
    """The model that reads the texts: the one asked for, or the run's classifier."""
    asked = run.cfg.features.model or run.cfg.classifier.model
    if asked is not None:
        return asked
    if not (run.classifier / CLASSIFIER_FILE).is_file():
        raise UserError("features.model is not set, and the run has no classifier; say which model the SAEs are of")
    return str(run.classifier)


def store_features(
    run: RunFolder,
    split: str,
    data: TextData,
    reader: TokenReader,
    sources: Sequence[FeatureSource],
    poolings: Sequence[Pooling],
) -> FeatureStore:
    """Features of some texts, in the run's ``features/``; what is there is reused.

    Args:
        run: The run folder.
        split: What the texts are, for the name of their folder.
        data: The texts.
        reader: The language model.
        sources: SAEs and hidden layers of it.
        poolings: How a text's tokens become one row.
    """
    cfg = run.cfg.features
    made_from = [reader.fingerprint, data.fingerprint(), [source.fingerprint for source in sources],
                 [str(pooling) for pooling in poolings], cfg.special_tokens, cfg.dtype, cfg.shard_size]  # fmt: skip
    folder = run.folder / "features" / f"{split}-{sha256_of_json(made_from)[:12]}"
    return cache_features(
        reader, data, sources, poolings, folder, special_tokens=cfg.special_tokens, shard_size=cfg.shard_size,
        max_batch_tokens=cfg.max_batch_tokens, is_current=run.is_current,
    )  # fmt: skip


def _settings(run: RunFolder) -> StudySettings:
    cfg = run.cfg.features
    return StudySettings(classifier_settings(run), tuple(cfg.thresholds), tuple(cfg.n_features), cfg.n_bootstrap)


def classifier_settings(run: RunFolder) -> ClassifierSettings:
    """What is fitted on features."""
    cfg = run.cfg.features
    return ClassifierSettings(cfg.classifier, None, cfg.selection, n_folds=cfg.n_folds, seed=cfg.seed)
