"""``evaluate --data OTHER``: do the concepts of one data set hold on the texts of another?"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from sae_lens_classif.checksums import sha256_of_json, write_json
from sae_lens_classif.config.classifier import DataConfig
from sae_lens_classif.config.run import EvaluateConfig, evaluation_names
from sae_lens_classif.config.yaml import config_of, read_yaml
from sae_lens_classif.data.texts import TextData, load_text_data
from sae_lens_classif.errors import UserError
from sae_lens_classif.evals.base import Exact
from sae_lens_classif.evals.evaluate import Evaluation, check_belong_together, evaluate
from sae_lens_classif.evals.measures import FLOOR, Count, Measure, Share, find_measure, label_free_columns
from sae_lens_classif.evals.results import finite
from sae_lens_classif.files import write_text
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.methods.base import ConceptMethod
from sae_lens_classif.runs import transfer_concepts
from sae_lens_classif.runs.folder import METHOD, RunFolder
from sae_lens_classif.runs.run_classifier import open_run_classifier
from sae_lens_classif.runs.run_method import evaluation_settings, load_fitted
from sae_lens_classif.runs.steps import TestSplit, embed_and_keep
from sae_lens_classif.runs.transfer_concepts import ConceptsElsewhere, concepts_elsewhere
from sae_lens_classif.store.caching import cache_states
from sae_lens_classif.store.store import ActivationStore
from sae_lens_classif.wording import bare_number, markdown_row, number

_FIRST = ("concept_sim", FLOOR, "mean_activation_rate", "max_activation_rate")


class Transfer(Exact):
    """The same concepts on two data sets; the JSON file has the shorter names.

    Attributes:
        source: Name of the data set that the concepts were learned on.
        target: Name of the other.
        source_measures: Measures on the test texts of the first, by name.
        target_measures: Measures on those of the second.
        source_rates: Activation rate of each concept, 0..1.
        target_rates: The same on the other texts.
        n_texts: Number of test texts of both.
        settings_sha256: Of everything that the numbers depend on.
    """

    source: str = Field(serialization_alias="home")
    target: str = Field(serialization_alias="away")
    source_measures: dict[str, Any] = Field(serialization_alias="here")
    target_measures: dict[str, Any] = Field(serialization_alias="there")
    source_rates: list[Share] = Field(serialization_alias="rates_here")
    target_rates: list[Share] = Field(serialization_alias="rates_there")
    n_texts: tuple[Count, Count]
    settings_sha256: str


def transfer_step(run: RunFolder, other: str, method: str = METHOD) -> Transfer:
    """Measure the run's concepts on the test texts of another data set, with the same classifier.

    Makes ``transfer/<name>/`` with the hidden states of those texts, ``transfer.{json,md}`` and, concept by concept,
    ``concepts.{json,md}``; of another method than the run's ClassifSAE, ``transfer.<method>.{json,md}`` and
    ``concepts.<method>.{json,md}``.

    Args:
        run: A run with a trained ClassifSAE, or another method that ``compare`` fitted.
        other: A folder or a name on the Hub, whose columns are called as in the run; or a YAML file with the settings
            of ``data``.
        method: Whose concepts. Default: those of the run's ClassifSAE.

    Raises:
        UserError: If the other data set cannot be read, the run has no such method, or its texts or model are no longer
            those that its hidden states were made from.
    """
    fitted = load_fitted(run, method)
    other_cfg = other_data(run.cfg.data, other)
    texts = load_text_data(other_cfg, "test", run.names_of_model)
    classifier = open_run_classifier(run)
    source = TestSplit(run, classifier)
    check_belong_together(fitted.method.autoencoder(), classifier, source.store, source.data)
    folder, unlabelled = folder_elsewhere(run, other_cfg.source, texts), without_labels(texts, classifier)
    store = cache_states(classifier, unlabelled, folder / "activations", run.cfg.cache)
    measure = partial(_measure, fitted.method, classifier, run.cfg.evaluate)
    on_source = measure(source.store, source.data, source.embeddings)
    on_target = measure(store, unlabelled, embed_and_keep(run, unlabelled))
    n_texts = len(source.store), len(store)
    transfer = Transfer(
        source=run.cfg.data.source,
        target=other_cfg.source,
        source_measures=finite(_kept(on_source)),
        target_measures=finite(_kept(on_target)),
        source_rates=_rates(on_source),
        target_rates=_rates(on_target),
        n_texts=n_texts,
        settings_sha256=sha256_of_json([evaluation_settings(run, fitted.weights, of) for of in (source.store, store)]),
    )
    each = ConceptsElsewhere(
        source=transfer.source, target=transfer.target, n_texts=n_texts,
        concepts=concepts_elsewhere(on_source.measures, on_target.measures, classifier.class_names),
    )  # fmt: skip
    suffix = "" if fitted.name == METHOD else f".{fitted.name}"
    write_json(folder / f"transfer{suffix}.json", transfer.model_dump(mode="json", by_alias=True))
    write_text(folder / f"transfer{suffix}.md", to_markdown(transfer))
    write_json(folder / f"concepts{suffix}.json", each.model_dump(mode="json"))
    write_text(folder / f"concepts{suffix}.md", transfer_concepts.to_markdown(each))
    return transfer


def folder_elsewhere(run: RunFolder, source: str, texts: TextData) -> Path:
    """Where a run keeps what it makes of the texts of another data set.

    Args:
        run: The run folder.
        source: Folder or name of the other data set.
        texts: Its test texts.
    """
    name = re.sub(r"[^\w.-]+", "_", Path(source).resolve().name)
    return run.folder / "transfer" / f"{name}-{texts.fingerprint()[:8]}"


def without_labels(texts: TextData, classifier: TextClassifier) -> TextData:
    """Texts with a classifier's class names and no label of any use: their own labels may mean other classes.

    Args:
        texts: Of another data set.
        classifier: The model.
    """
    return TextData(texts.texts, np.zeros(len(texts), dtype=np.int64), classifier.class_names, classifier.multi_label)


def other_data(cfg: DataConfig, other: str, is_trained_on: bool = False) -> DataConfig:
    """Settings of the other data set.

    Args:
        cfg: Settings of the run's own; columns, split and sizes are taken over unless a YAML file says otherwise.
        other: A folder, a name on the Hub, or a YAML file.
        is_trained_on: Whether its training texts are wanted, too; a single file is then split.

    Raises:
        UserError: If the YAML file does not hold such settings, ``source`` among them.
    """
    taken_over: tuple[str, ...] = (
        "test", "text_column", "text_pair_column", "label_column", "label_columns", "max_characters", "max_test_texts",
    )  # fmt: skip
    if is_trained_on:
        taken_over = (*taken_over, "train", "max_train_texts", "test_share")
    settings = {name: getattr(cfg, name) for name in taken_over}
    is_file = Path(other).suffix in (".yaml", ".yml") and not Path(other).is_dir()
    given = read_yaml(other) if is_file else {"source": other}
    if not isinstance(given, dict):
        raise UserError(f"{other} holds {type(given).__name__}, not settings of data by name, such as source")
    if "source" not in given:
        raise UserError(f"{other} has no source; name the folder of the texts or their name on the Hub")
    settings |= given
    source = settings["source"]
    if isinstance(source, str) and Path(source).is_file():
        # Where nothing is trained on it, all of it is tested on.
        settings = {"test_share": 1.0, **settings, "test": "test", **({"train": "train"} if is_trained_on else {})}
    return config_of((other, {"data": settings})).data


def transfer_measures() -> tuple[Measure, ...]:
    """What is measured on both: gold labels play no part, the classes may be others."""
    others = (measure for measure in label_free_columns() if measure.name not in _FIRST)
    return (*map(find_measure, _FIRST), *others)


def _measure(
    method: ConceptMethod,
    classifier: TextClassifier,
    cfg: EvaluateConfig,
    store: ActivationStore,
    data: TextData,
    embeddings: torch.Tensor,
) -> Evaluation:
    """All that is measured of the concepts."""
    return evaluate(method, classifier, store, data, replace(cfg, evals=evaluation_names()), embeddings)


def _kept(evaluation: Evaluation) -> dict[str, Any]:
    """Measures that need no gold label."""
    metrics, names = evaluation.metrics, [measure.name for measure in transfer_measures()]
    return {key: metrics[key] for name in names for key in (name, f"{name}_ci95") if key in metrics}


def _rates(evaluation: Evaluation) -> list[float]:
    """Each concept's activation rate; none where nothing could be measured."""
    completeness = evaluation.measures.get("completeness")
    return completeness.details["activation_rate"] if completeness else []


def measure_rows(transfer: Transfer) -> Iterator[tuple[str, ...]]:
    """A row a measure, in words: title, value on the source and on the target, with 95 % intervals, and the change."""
    both = transfer.source_measures, transfer.target_measures
    for measure in transfer_measures():
        source, target = (of.get(measure.name) for of in both)
        change = None if source is None or target is None else target - source
        shown = (_with_interval(of, measure) for of in both)
        yield measure.title, *shown, number(change, measure.in_percent)


def _with_interval(measures: Mapping[str, Any], measure: Measure) -> str:
    low_high = " … ".join(bare_number(end, measure.in_percent) for end in measures.get(f"{measure.name}_ci95") or ())
    return number(measures.get(measure.name), measure.in_percent) + (f" ({low_high})" if low_high else "")


def to_markdown(transfer: Transfer) -> str:
    """Measures side by side, then each concept's activation rates."""
    lines = [f"| | {transfer.source} | {transfer.target} | change |", "|---|---:|---:|---:|"]
    lines += map(markdown_row, measure_rows(transfer))
    lines += ["", f"Test texts: {transfer.n_texts[0]:,} and {transfer.n_texts[1]:,}.", ""]
    lines += [
        f"| concept | fires on {transfer.source} | fires on {transfer.target} | change |",
        "|---:|---:|---:|---:|",
    ]
    rates = zip(transfer.source_rates, transfer.target_rates, strict=False)  # none where everything is NaN
    for index, (source, target) in enumerate(rates):
        lines.append(markdown_row([str(index), *(number(value, True) for value in (source, target, target - source))]))
    return "\n".join(lines) + "\n"
