"""``features --transfer``: what is learned on one language, data set or model, and holds on another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sae_lens_classif.checksums import sha256_of_json, write_json
from sae_lens_classif.data.texts import TextData, load_column, load_text_data
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.features import decision_tables, transfer_tables
from sae_lens_classif.features.decisions import Decisions, DecisionSettings, DecisionStudy, View, decision_study
from sae_lens_classif.features.domains import Domain, domains_by_value, whole_domain
from sae_lens_classif.features.pooling import Pooling, above
from sae_lens_classif.features.sources import HIDDEN
from sae_lens_classif.features.study import WORDS, Approach, Study, StudyRow
from sae_lens_classif.features.transfer import ALL, ALL_BUT, TransferSettings, TransferStudy, transfer_study
from sae_lens_classif.figures.matrices import matrix_figure
from sae_lens_classif.figures.style import save_figure
from sae_lens_classif.files import write_text
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.hooks.load import load_classifier
from sae_lens_classif.methods.classif_sae import ClassifSAEConcepts
from sae_lens_classif.runs.features import RunFeatures, classifier_settings, features_of, features_step, store_features
from sae_lens_classif.runs.folder import SETTINGS_FILE, RunFolder
from sae_lens_classif.runs.run_classifier import has_classifier, open_run_classifier
from sae_lens_classif.runs.run_method import load_trained
from sae_lens_classif.runs.transfer import other_data, without_labels
from sae_lens_classif.store.caching import cache_states
from sae_lens_classif.store.store import ActivationStore

LANGUAGES, DATA, MODELS = "languages", "data", "models"
Found = TransferStudy | DecisionStudy


def transfer_features_step(run: RunFolder, what: str) -> Found:
    """Carry features over to other languages, data sets, or another model's decisions.

    Makes ``features/transfer_<what>.{json,md,png,svg}``, and before it what ``features_step`` makes; what is there is
    reused.

    Args:
        run: The run folder.
        what: ``languages``, ``data`` or ``models``.

    Raises:
        UserError: If there is no such transfer, or what it needs is not set or not there.
    """
    if what not in (LANGUAGES, DATA, MODELS):
        raise UserError(f"--transfer is {what!r}; {nearest(what, [LANGUAGES, DATA, MODELS])}")
    cfg = run.cfg.features
    if what == DATA and not cfg.data_sets:
        raise UserError("features.data_sets is empty; name the other data sets: folders, names on the Hub, YAML files")
    if what == MODELS and not cfg.decisions_of:
        raise UserError("features.decisions_of is empty; name classifiers: folders, names on the Hub, or run folders")
    languages = _languages(run) if what == LANGUAGES else ((), ())
    deciders = _deciders(run) if what == MODELS else []
    studied = features_step(run)
    chosen = _chosen(run, studied)
    of = features_of(run, chosen.model)
    approaches = _approaches(of, studied, chosen)
    if what == MODELS:
        found: Found = _models(run, of, approaches, deciders)
    else:
        domains = domains_by_value(of.data, of.stores, languages) if what == LANGUAGES else _data(run, of, approaches)
        found = transfer_study(what, domains, approaches, run.folder / "features" / "fits", _settings(run))
    _write(run, what, found)
    return found


def _languages(run: RunFolder) -> tuple[Sequence[Any], Sequence[Any]]:
    """The language of each training and test text."""
    cfg, column = run.cfg.data, run.cfg.features.language_column
    try:
        train, test = (load_column(cfg, split, column, run.names_of_model) for split in ("train", "test"))
    except UserError as error:
        if column not in str(error):
            raise
        raise UserError(f"{error}; features.language_column names the column of the texts' languages") from error
    return train, test


def _settings(run: RunFolder) -> TransferSettings:
    cfg = run.cfg.features
    return TransferSettings(
        classifier_settings(run), tuple(cfg.shots), cfg.n_draws, tuple(cfg.few_shot_from), cfg.n_bootstrap
    )


def _chosen(run: RunFolder, found: Study) -> StudyRow:
    """The approach that is carried over: the one asked for, or the study's best."""
    known = {name: row for name, row in found.rows.items() if row.source is not None}
    name = run.cfg.features.approach or found.best
    if name not in known:
        raise UserError(f"features.approach is {name!r}; {nearest(name, list(known))}")
    return known[name]


def _approaches(of: RunFeatures, found: Study, chosen: StudyRow) -> dict[str, Approach]:
    """What is carried over: the chosen approach, its model's best hidden state at its hook, words."""
    rows = [row for row in found.rows.values() if row.model == chosen.model and row.source is not None]
    hidden = [row for row in rows if str(row.source).startswith(HIDDEN)]
    same = [row for row in hidden if row.hook == chosen.hook] or hidden
    best = max(same, key=lambda row: (row.n_features is None, row.cv_macro_f1 or 0))
    return {
        "features": Approach(chosen.features, chosen.threshold, chosen.n_features),
        "hidden": Approach(best.features, None, best.n_features, is_baseline=True),
        "words": Approach(WORDS, is_baseline=True),
    }


def _data(run: RunFolder, of: RunFeatures, approaches: Mapping[str, Approach]) -> list[Domain]:
    """The run's data set and the others, with the features that are carried over."""
    names = of.data[0].class_names
    columns = [of.stores[0].column(one.features) for one in approaches.values() if one.features != WORDS]
    sources = [source for source in of.sources if source.name in {column.source for column in columns}]
    poolings = [Pooling.of(words) for words in dict.fromkeys(column.pooling for column in columns)]
    all_sources = [run.cfg.data.source, *run.cfg.features.data_sets]
    if len({str(Path(source).resolve()) for source in all_sources}) < len(all_sources):
        raise UserError("features.data_sets names a data set twice, or the run's own; name each other one once")
    called = _called(all_sources)
    domains = [whole_domain(called[0], of.data, of.stores)]
    for other, name in zip(run.cfg.features.data_sets, called[1:], strict=True):
        cfg = other_data(run.cfg.data, other, is_trained_on=True)
        taken = None if run.cfg.features.class_map else names
        data = tuple(
            _mapped(load_text_data(cfg, split, taken), names, run.cfg.features.class_map, other)
            for split in ("train", "test")
        )
        stores = tuple(
            store_features(run, split, texts, of.reader, sources, poolings)
            for split, texts in zip(("train", "test"), data, strict=True)
        )
        domains.append(whole_domain(name, (data[0], data[1]), (stores[0], stores[1])))
    return domains


def _called(names: Sequence[str]) -> list[str]:
    """Folders and names on the Hub by their last part, where that tells them apart."""
    short = [Path(name).stem if Path(name).is_file() else Path(name).name for name in names]
    return [one if short.count(one) == 1 else name for one, name in zip(short, names, strict=True)]


def _mapped(data: TextData, names: tuple[str, ...], class_map: Mapping[str, str], where: str) -> TextData:
    """The same texts with the run's classes.

    Raises:
        UserError: If a class is none of them.
    """
    if data.multi_label:
        raise UserError(f"texts of {where} may have several labels; features are carried over for one class a text")
    called = [class_map.get(name, name) for name in data.class_names]
    unknown = [name for name, own in zip(data.class_names, called, strict=True) if own not in names]
    if unknown:
        raise UserError(
            f"the class {unknown[0]!r} of {where} is none of the run's ({', '.join(names)}); say which it is here: "
            f"--features.class_map '{{{unknown[0]}: {names[0]}}}'"
        )
    numbers = np.array([names.index(own) for own in called], dtype=np.int64)
    return replace(data, labels=numbers[data.labels], class_names=names)


@dataclass(frozen=True)
class _Decider:
    """A classifier, known by its states and decisions on the run's texts.

    Attributes:
        name: How it is called.
        stores: Of training and test texts.
        run: Its run folder, if it has one.
    """

    name: str
    stores: tuple[ActivationStore, ActivationStore]
    run: RunFolder | None


def _deciders(run: RunFolder) -> list[_Decider]:
    """The classifiers whose decisions are told: the run's own first, if it has one."""
    data, found = (run.texts("train"), run.texts("test")), list[_Decider]()
    if has_classifier(run):
        name = "the run's classifier"
        found.append(_Decider(name, _states(run, data, open_run_classifier(run), name), run))
    asked = dict.fromkeys(run.cfg.features.decisions_of)
    others = [name for name in asked if Path(name).resolve() != run.folder.resolve()]
    for name, called in zip(others, _called(others), strict=True):
        is_run = (Path(name) / "config.yaml").is_file()
        folder = RunFolder.open(name, allow_code=run.allow_code) if is_run else None
        classifier = _opened(run, name) if folder is None else open_run_classifier(folder)
        found.append(_Decider(called, _states(run, data, classifier, name), folder))
    return found


def _opened(run: RunFolder, name: str) -> TextClassifier:
    cfg = run.cfg.classifier
    return load_classifier(run.allowed(name), dtype=cfg.dtype, device=cfg.device)


def _states(
    run: RunFolder, data: tuple[TextData, TextData], classifier: TextClassifier, name: str
) -> tuple[ActivationStore, ActivationStore]:
    """Hidden states and decisions of a classifier on the run's texts; what is there is reused."""
    if classifier.multi_label:
        raise UserError(f"{name} gives a text several labels; features are carried over for one class a text")
    stores = []
    for split, texts in zip(("train", "test"), data, strict=True):
        key = sha256_of_json([classifier.model_fingerprint, classifier.prompt_fingerprint(), texts.fingerprint()])
        folder = run.folder / "features" / "decisions" / f"{split}-{key[:12]}"
        stores.append(
            cache_states(classifier, without_labels(texts, classifier), folder, run.cfg.cache, run.is_current)
        )
    return stores[0], stores[1]


def _models(
    run: RunFolder, of: RunFeatures, approaches: Mapping[str, Approach], deciders: Sequence[_Decider]
) -> DecisionStudy:
    """What tells the decisions: features and hidden state of the run's model, words, and the classifiers' own."""
    model = Path(of.reader.name).name
    named = {"features": f"SAE features of {model}", "hidden": f"hidden state of {model}", "words": WORDS}
    views, decisions = [_view_of(named[name], approach, of) for name, approach in approaches.items()], list[Decisions]()
    for one in deciders:
        train, test = (store.read("predicted").numpy() for store in one.stores)
        decisions.append(Decisions(one.name, one.stores[0].class_names, (train, test)))
        views.append(_states_view(one.name, one.stores))
        if one.run is not None and (one.run.sae / SETTINGS_FILE).is_file():
            views.append(_concepts_of(one.name, one.stores, *load_trained(one.run)))
    settings = DecisionSettings(classifier_settings(run), run.cfg.features.n_bootstrap)
    return decision_study(views, decisions, run.folder / "features" / "fits", settings)


def _view_of(name: str, approach: Approach, of: RunFeatures) -> View:
    texts = [data.fingerprint() for data in of.data]
    if approach.features == WORDS:
        return View(
            name,
            "TF-IDF of single words and pairs",
            ["words", texts],
            lambda: (of.data[0].texts, of.data[1].texts),
            are_words=True,
        )

    def read() -> tuple[Any, Any]:
        train, test = (store.read(approach.features) for store in of.stores)
        return above(train, approach.threshold), above(test, approach.threshold)

    made_from = [*of.stores[0].origin(approach.features), approach.threshold, texts]
    return View(name, approach.name, made_from, read, approach.n_features)


def _states_view(name: str, stores: tuple[ActivationStore, ActivationStore]) -> View:
    """The states that a classifier's decisions follow from: as much as anything can tell of them."""

    def read() -> tuple[Any, Any]:
        train, test = (store.read("hidden").float().numpy() for store in stores)
        return train, test

    about = f"{stores[0].hook_name} of {stores[0].model_name}, with its own prompt"
    return View(f"state that {name} decides by", about, ["states", _prints(stores)], read)


def _prints(stores: tuple[ActivationStore, ActivationStore]) -> list[str]:
    return [store.fingerprint() for store in stores]


def _concepts_of(
    name: str, stores: tuple[ActivationStore, ActivationStore], concepts: ClassifSAEConcepts, weights: str
) -> View:
    """The concepts of a classifier's own ClassifSAE."""

    def read() -> tuple[Any, Any]:
        train, test = (concepts.encode(store.read("hidden").float()).cpu().numpy() for store in stores)
        return train, test

    about = f"its ClassifSAE, at {stores[0].hook_name}"
    return View(f"concepts of {name}", about, ["concepts", weights, _prints(stores)], read)


def _write(run: RunFolder, what: str, found: Found) -> None:
    stem = run.folder / "features" / f"transfer_{what}"
    write_json(stem.with_suffix(".json"), found.model_dump(mode="json"))
    if isinstance(found, DecisionStudy):
        write_text(stem.with_suffix(".md"), decision_tables.to_markdown(found))
        figure = _figure_of_decisions(found)
    else:
        write_text(stem.with_suffix(".md"), transfer_tables.to_markdown(found))
        figure = _figure_of_matrices(found)
    save_figure(figure, stem)


def _figure_of_matrices(found: TransferStudy) -> Any:
    rows = [name for name in (*found.sources, ALL, ALL_BUT) if name in found.floor]
    panels = {
        transfer_tables.TITLES[name]: [
            [
                cell.macro_f1.value if (cell := matrix.cells.get(row, {}).get(target)) else None
                for target in found.targets
            ]
            for row in rows
        ]
        for name, matrix in found.matrices.items()
    }
    noun = transfer_tables.NOUNS[found.what]
    return matrix_figure(f"Trained on one {noun}, tested on each", rows, found.targets, panels)


def _figure_of_decisions(found: DecisionStudy) -> Any:
    rows, columns = list(found.cells), list(found.classifiers)
    values = [[found.cells[row][column].macro_f1.value for column in columns] for row in rows]
    return matrix_figure("What tells a model's decisions", rows, columns, {"": values}, ("told by", "decisions of"))
