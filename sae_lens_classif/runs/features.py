"""``features``: do features of an SAE classify texts, which, and better than what?"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sae_lens_classif.checksums import sha256_of_json, sha256_of_tensors, write_json
from sae_lens_classif.data.texts import TextData
from sae_lens_classif.errors import UserError
from sae_lens_classif.features.baselines import untrained
from sae_lens_classif.features.caching import cache_features
from sae_lens_classif.features.classifiers import ClassifierSettings, Labels
from sae_lens_classif.features.pooling import Pooling
from sae_lens_classif.features.sources import UNTRAINED, FeatureSource, HiddenSource, SAESource
from sae_lens_classif.features.store import FeatureStore
from sae_lens_classif.features.study import OtherFeatures, Stores, Study, StudySettings, study
from sae_lens_classif.figures.feature_heat_map import feature_heat_map
from sae_lens_classif.figures.style import save_figure
from sae_lens_classif.hooks.load import CLASSIFIER_FILE
from sae_lens_classif.hooks.token_states import TokenReader, open_reader
from sae_lens_classif.methods.sae_probe import check_named, load_sae
from sae_lens_classif.runs.folder import RunFolder
from sae_lens_classif.runs.run_classifier import has_classifier, open_run_classifier
from sae_lens_classif.runs.steps import embed_and_keep
from sae_lens_classif.runs.study_files import write_study
from sae_lens_classif.store.caching import cache_states
from sae_lens_classif.store.shards import MANIFEST
from sae_lens_classif.store.store import ActivationStore

logger = logging.getLogger(__name__)


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
    stores: Stores
    reader: TokenReader
    sources: list[FeatureSource]
    beside: list[str]


def features_step(run: RunFolder) -> Study:
    """Fit a classifier on features of the training texts, for every model, SAE and pooling, beside baselines.

    Makes ``features/``: the features of both splits, each fit, ``study.{json,md,tex}``, ``heatmap.{png,svg}``,
    ``behind.json``, and what other packages would write; what is there is reused.

    Raises:
        UserError: If no model or no SAE is given, an SAE is of another model, or a pooling does not exist.
    """
    asked = saes_of_models(run)
    for name in (name for names in asked.values() for name in names):
        check_named(name)  # before the first model is read
    _poolings(run)
    data = run.texts("train"), run.texts("test")
    others = _embeddings(run, data)
    stores, beside, last = dict[str, Stores](), list[str](), dict[str, RunFeatures]()
    for model in asked:  # one at a time: they might not fit into memory together
        last.clear()
        last[model] = features_of(run, model)
        stores[model] = last[model].stores
        beside += last[model].beside
    found = study_of(run, stores, data, beside, others)
    best = found.rows[found.best].model or next(iter(asked))

    def opened() -> tuple[TokenReader, list[FeatureSource]]:
        """The best approach's model and SAEs, only where they are needed."""
        kept = last.pop(best, None)
        last.clear()
        kept = kept or features_of(run, best)
        return kept.reader, kept.sources

    write_study(run, found, stores, best, data, opened, classifier_settings(run))
    return found


def features_of(run: RunFolder, model: str | None = None) -> RunFeatures:
    """Read the run's texts with a model and its SAEs, or what was stored of them.

    Args:
        run: The run folder.
        model: One of ``saes_of_models``. Default: the first.

    Raises:
        UserError: As ``features_step``.
    """
    cfg, asked = run.cfg.features, saes_of_models(run)
    model = model or next(iter(asked))
    poolings, saes = _poolings(run), {name: load_sae(name) for name in asked[model]}
    data = run.texts("train"), run.texts("test")
    reader = open_reader(model, getattr(torch, cfg.dtype), cfg.device, cfg.backend)
    sources: list[FeatureSource] = [SAESource(name, sae, reader) for name, sae in saes.items()]
    hooks = cfg.hidden or tuple(source.hook for source in sources)
    beside = [
        SAESource(f"{UNTRAINED}{name}", untrained(sae, cfg.seed), reader)
        for name, sae in (saes if cfg.untrained else {}).items()
    ]
    sources += [*beside, *(HiddenSource(hook, reader) for hook in dict.fromkeys(hooks))]
    train, test = (
        store_features(run, split, of, reader, sources, poolings)
        for split, of in zip(("train", "test"), data, strict=True)
    )
    return RunFeatures(data, (train, test), reader, sources, [source.name for source in beside])


def study_of(
    run: RunFolder,
    stores: Mapping[str, Stores],
    data: tuple[TextData, TextData],
    beside: Sequence[str],
    others: Sequence[OtherFeatures] = (),
) -> Study:
    """Study features of a run's texts; makes ``study.json`` and ``heatmap.{png,svg}``.

    Args:
        run: The run folder.
        stores: For each model, features of the training and of the test texts.
        data: The texts.
        beside: Sources that are baselines, hidden layers aside.
        others: Baselines that no language model of these gives.
    """
    folder = run.folder / "features"
    found = study(stores, data, folder / "fits", _settings(run), beside, others, _decided(run, data[1]))
    write_json(folder / "study.json", found.model_dump(mode="json"))
    save_figure(feature_heat_map(found), folder / "heatmap")
    return found


def saes_of_models(run: RunFolder) -> dict[str, tuple[str, ...]]:
    """The models that read the texts, and the SAEs of each; first the one that SAEs are of where none is named.

    Raises:
        UserError: If there are no SAEs, or nothing says which model they are of.
    """
    if not run.cfg.features.saes:
        raise UserError("features.saes is empty; give an SAE: a folder, or RELEASE:SAE_ID")
    named = [model_and_sae(entry) for entry in dict.fromkeys(run.cfg.features.saes)]
    found = dict[str, tuple[str, ...]]()
    for model, sae in sorted(named, key=lambda pair: pair[0] is not None):
        of = model or _model_of(run)
        found[of] = (*found.get(of, ()), sae)
    return found


def model_and_sae(entry: str) -> tuple[str | None, str]:
    """An entry of ``features.saes`` in its parts; no model where none is named.

    What is a folder is one, whatever its name: those of a sweep's cells hold a ``=``, too.

    Args:
        entry: ``SAE``, or ``MODEL=SAE``.

    Raises:
        UserError: If one of the two is empty.
    """
    if Path(entry).is_dir() or "=" not in entry:
        return None, entry
    places = [place for place, letter in enumerate(entry) if letter == "="]
    split = next((place for place in places if Path(entry[place + 1 :]).is_dir()), places[0])
    model, sae = entry[:split], entry[split + 1 :]
    if not model or not sae:
        raise UserError(
            f"features.saes has {entry!r}; write MODEL=SAE, or the SAE alone where features.model is its model"
        )
    return model, sae


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


def _embeddings(run: RunFolder, data: tuple[TextData, TextData]) -> list[OtherFeatures]:
    """Sentence embeddings, where an encoder is named."""
    encoder = run.cfg.features.embeddings
    if encoder is None:
        logger.info(
            "sentence embeddings: left out of the table; features.embeddings names an encoder to have them there"
        )
        return []
    train, test = (embed_and_keep(run, of, encoder, run.cfg.features.device) for of in data)
    fingerprint = sha256_of_tensors({"train": train, "test": test})
    return [OtherFeatures(f"sentence embeddings ({Path(encoder).name})", (train.numpy(), test.numpy()), fingerprint)]


def _decided(run: RunFolder, data: TextData) -> Labels | None:
    """What the run's own classifier says of the test texts, as ``cache`` stored it, or does now; None without one."""
    if not has_classifier(run):
        return None
    folder = run.activations("test")
    try:
        store = ActivationStore(folder) if (folder / MANIFEST).is_file() else None
        if store is None or store.fingerprints.data != data.fingerprint():
            store = cache_states(open_run_classifier(run), data, folder, run.cfg.cache, run.is_current)
        predicted: Labels = store.read("predicted").numpy()
    except UserError as error:  # a language model that answers no prompt may be what is read here
        logger.warning("the classifier itself is not in the table: %s", error)
        return None
    return predicted


def _poolings(run: RunFolder) -> list[Pooling]:
    return [Pooling.of(words) for words in dict.fromkeys(run.cfg.features.poolings)]


def _settings(run: RunFolder) -> StudySettings:
    cfg = run.cfg.features
    return StudySettings(classifier_settings(run), tuple(cfg.thresholds), tuple(cfg.n_features), cfg.n_bootstrap)


def classifier_settings(run: RunFolder) -> ClassifierSettings:
    """What is fitted on features."""
    cfg = run.cfg.features
    return ClassifierSettings(cfg.classifier, None, cfg.selection, n_folds=cfg.n_folds, seed=cfg.seed)
