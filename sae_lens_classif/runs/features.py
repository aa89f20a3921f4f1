"""``features``: do features of an SAE classify texts, which, and better than what?"""

import torch

from sae_lens_classif.checksums import sha256_of_json
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.features.baselines import untrained
from sae_lens_classif.features.caching import cache_features
from sae_lens_classif.features.classifiers import ClassifierSettings
from sae_lens_classif.features.pooling import Pooling
from sae_lens_classif.features.sources import UNTRAINED, FeatureSource, HiddenSource, SAESource
from sae_lens_classif.features.store import FeatureStore
from sae_lens_classif.features.study import Study, StudySettings, study
from sae_lens_classif.hooks.load import CLASSIFIER_FILE
from sae_lens_classif.hooks.token_states import TokenReader, open_reader
from sae_lens_classif.methods.sae_probe import load_sae
from sae_lens_classif.runs.folder import RunFolder
from sae_lens_classif.runs.study_files import write_study


def features_step(run: RunFolder) -> Study:
    """Fit a classifier on features of the training texts, for every SAE and pooling, beside baselines.

    Makes ``features/``: the features of both splits, each fit, ``study.{json,md,tex}``, ``behind.json``; what is there
    is reused.

    Raises:
        UserError: If no model or no SAE is given, an SAE is of another model, or a pooling does not exist.
    """
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
        _features(run, split, of, reader, sources, poolings) for split, of in zip(("train", "test"), data, strict=True)
    ]
    found = study(
        (stores[0], stores[1]),
        data,
        run.folder / "features" / "fits",
        _settings(run),
        [source.name for source in beside],
    )
    write_study(run, found, (stores[0], stores[1]), data, reader, sources, _settings(run).classifier)
    return found


def _model_of(run: RunFolder) -> str:
    """The model that reads the texts: the one asked for, or the run's classifier."""
    asked = run.cfg.features.model or run.cfg.classifier.model
    if asked is not None:
        return asked
    if not (run.classifier / CLASSIFIER_FILE).is_file():
        raise UserError("features.model is not set, and the run has no classifier; say which model the SAEs are of")
    return str(run.classifier)


def _features(
    run: RunFolder,
    split: str,
    data: TextData,
    reader: TokenReader,
    sources: list[FeatureSource],
    poolings: list[Pooling],
) -> FeatureStore:
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
    classifier = ClassifierSettings(cfg.classifier, None, cfg.selection, n_folds=cfg.n_folds, seed=cfg.seed)
    return StudySettings(classifier, tuple(cfg.thresholds), tuple(cfg.n_features), cfg.n_bootstrap)
