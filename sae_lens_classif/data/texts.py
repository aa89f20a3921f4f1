"""Labelled texts from the embedded default, local files or the Hub, checked before anything is computed."""

import glob
import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from sae_lens_classif.config.classifier import GIVEN, PAIR_MARK, DataConfig
from sae_lens_classif.data.bbc_news import bbc_news_paragraphs
from sae_lens_classif.data.labels import number_label_sets, number_labels, sets_of_columns
from sae_lens_classif.data.nesting import check_json
from sae_lens_classif.data.splitting import held_out_rows
from sae_lens_classif.errors import UserError, fault_of_the_machine, nearest
from sae_lens_classif.reading import is_text

if TYPE_CHECKING:
    from sae_lens_classif.decisions import DecisionRule

logger = logging.getLogger(__name__)

Split = Literal["train", "test"]
# How datasets and pyarrow word it that a table has no rows.
_NO_ROWS = ("corresponds to no data", "BatchSize must be greater than 0")
_READERS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json", ".json": "json"}
# One or two columns of texts, the labels, and how the data call the classes.
_Columns = tuple[list[list[Any]], list[Any], tuple[str, ...] | None]


@dataclass(frozen=True, repr=False)
class TextData:
    """Labelled texts of one split.

    Attributes:
        texts: The texts, none of them empty.
        labels: int64 array (n_texts,), each in 0..C-1; or sets of labels (see ``decisions``).
        class_names: Names of the C classes.
        multi_label: Whether a text may have several of them, or none.
    """

    texts: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    multi_label: bool = False

    @property
    def rule(self) -> "DecisionRule":
        """What a label of it is."""
        from sae_lens_classif.decisions import decision_rule  # which needs torch, and the help does not

        return decision_rule(self.multi_label)

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        what = "any of the labels" if self.multi_label else "classes"
        return f"TextData({len(self):,} texts, {what} {shorten(', '.join(self.class_names), 60)})"

    def fingerprint(self) -> str:
        """SHA-256 of texts, labels and class names: what a store of hidden states belongs to."""
        digest = hashlib.sha256(json.dumps(self.class_names).encode() + b"several" * self.multi_label)
        for text, label in zip(self.texts, self.labels.tolist(), strict=True):
            encoded = text.encode("utf-8", errors="surrogatepass")
            digest.update(f"{label}:{len(encoded)}:".encode())
            digest.update(encoded)
        return digest.hexdigest()


def load_text_data(cfg: DataConfig, split: Split, model_names: tuple[str, ...] | None = None) -> TextData:
    """Load and check one split.

    Args:
        cfg: Where the texts are.
        split: ``train`` or ``test``.
        model_names: How the model calls its classes, in their order; the order of labels that are these words, and the
            names of labels that are numbers, unless the settings or the data say otherwise.

    Raises:
        UserError: If the file, split or a column is missing, there is no text, a text is empty or not a
            string, or the labels are not 0..C-1 or names of at least two classes, or lists of them.
    """
    if not isinstance(cfg, DataConfig):
        raise UserError(
            f"cfg is of type {type(cfg).__name__}; give a DataConfig, whose source is a path or a name on the Hub. "
            f"Texts at hand are given to make_run, cache_states and evaluate as they are: {GIVEN}"
        )
    is_one_file = Path(cfg.source).is_file()
    where = f"the texts of {cfg.source}" if is_one_file else f"the {split} texts of {cfg.source}"
    data = _checked(_read(cfg, split), cfg, model_names, where)
    kept = _kept_rows(cfg, split, data.labels)
    labels = data.labels[kept]
    if len(set(labels.tolist())) < 2:
        raise UserError(f"the {len(kept)} drawn of {where} are all of one class; raise data.max_{split}_texts")
    return replace(data, texts=tuple(data.texts[row] for row in kept), labels=labels)


def text_data_of(table: Any, cfg: DataConfig, model_names: tuple[str, ...]) -> TextData:
    """Check all rows of a table at hand.

    Args:
        table: A ``datasets.Dataset``.
        cfg: How its columns are called.
        model_names: See ``load_text_data``.

    Raises:
        UserError: As ``load_text_data``.
    """
    cfg = replace(cfg, source="data")
    return _checked(_columns(table, cfg), cfg, model_names, "the texts of data")


def _checked(read: _Columns, cfg: DataConfig, model_names: tuple[str, ...] | None, where: str) -> TextData:
    columns, found_labels, found_names = read
    texts, *seconds = [_cut(column, cfg.max_characters, where) for column in columns]
    if seconds:
        texts = _pairs(texts, seconds[0], where)
    multi_label = any(isinstance(label, list) for label in found_labels)
    number = number_label_sets if multi_label else number_labels
    labels, class_names = number(found_labels, cfg.class_names or found_names, model_names, where)
    return TextData(tuple(texts), labels, class_names, multi_label)


def load_column(cfg: DataConfig, split: Split, column: str, model_names: tuple[str, ...] | None = None) -> list[Any]:
    """Load another column of the data, for the texts that ``load_text_data`` gives.

    Args:
        cfg: Where the texts are.
        split: ``train`` or ``test``.
        column: Its name.
        model_names: See ``load_text_data``.

    Returns:
        Its values, one a text, in their order.

    Raises:
        UserError: If there is none of this name.
    """
    if cfg.source == "bbc_news":
        raise UserError(f"there is no column {column!r} in bbc_news, which has texts and labels alone")
    table = _read_table(cfg, cfg.train if split == "train" else cfg.test)
    _check_columns(table, (column,), cfg)
    labels = _checked(_columns(table, cfg), cfg, model_names, cfg.source).labels
    values = _values(table, column, cfg)
    return [values[row] for row in _kept_rows(cfg, split, labels)]


def _kept_rows(cfg: DataConfig, split: Split, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Rows of the table that are the split's texts."""
    maximum = cfg.max_train_texts if split == "train" else cfg.max_test_texts
    kept = _rows_of(split, labels, cfg) if Path(cfg.source).is_file() else np.arange(len(labels))
    if maximum is not None and maximum < len(kept):
        kept = kept[np.sort(np.random.default_rng(0).permutation(len(kept))[:maximum])]
    return kept


def _check_columns(table: Any, columns: Iterable[str], cfg: DataConfig, remedy: str = "") -> None:
    for column in columns:
        if column not in table.column_names:
            raise UserError(
                f"there is no column {column!r} in {cfg.source}; {nearest(column, table.column_names)}{remedy}"
            )


def _read(cfg: DataConfig, split: Split) -> _Columns:
    if cfg.source == "bbc_news":
        if cfg.text_pair_column is not None:
            raise UserError("data.text_pair_column is set, but bbc_news has single texts; leave it out")
        splits, class_names = bbc_news_paragraphs()
        return [[text for text, _ in splits[split]]], [label for _, label in splits[split]], class_names
    return _columns(_read_table(cfg, cfg.train if split == "train" else cfg.test), cfg)


def _columns(table: Any, cfg: DataConfig) -> _Columns:
    of_texts = [cfg.text_column] if cfg.text_pair_column is None else [cfg.text_column, cfg.text_pair_column]
    of_labels = cfg.label_columns or (cfg.label_column,)
    _check_columns(table, (*of_texts, *of_labels), cfg, ". Set data.text_column and data.label_column")
    columns = [_values(table, column, cfg) for column in of_texts]
    names: Any = cfg.label_columns
    if cfg.label_columns is not None:
        labels: list[Any] = sets_of_columns([_values(table, column, cfg) for column in cfg.label_columns], cfg)
    else:
        labels, feature = _values(table, cfg.label_column, cfg), table.features[cfg.label_column]
        names = getattr(getattr(feature, "feature", feature), "names", None)
    return columns, labels, tuple(names) if names else None


def _values(table: Any, column: str, cfg: DataConfig) -> list[Any]:
    """All values of a column.

    Raises:
        UserError: If they cannot be read, as words that are no UTF-8, times that no calendar has, damaged pictures.
    """
    try:
        return list(table[column])
    except Exception as error:  # what decodes the kinds of columns raises all kinds
        if fault_of_the_machine(error):
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UserError(f"the column {column!r} of {cfg.source} cannot be read ({reason}); mend it") from error


def _rows_of(split: Split, labels: npt.NDArray[np.int64], cfg: DataConfig) -> npt.NDArray[np.int64]:
    """Rows of a split of a file that has none.

    Raises:
        UserError: If it has none left.
    """
    held_out = held_out_rows(labels, cfg.test_share)
    rest = np.setdiff1d(np.arange(len(labels)), held_out)
    if split == "train":
        logger.info("%s has no test texts: %d of its %d rows are held out", cfg.source, len(held_out), len(labels))
    rows = rest if split == "train" else held_out
    if not len(rows):
        raise UserError(f"no {split} text is left of the {len(labels)} of {cfg.source}; change data.test_share")
    return rows


def _read_table(cfg: DataConfig, split: str) -> Any:
    import datasets

    file = _find_file(cfg.source, split)
    if file is None:
        return _read_from_hub(cfg, split)
    if file.stat().st_size == 0:
        raise UserError(f"{file} is empty; give a file with texts and labels")
    if _READERS[file.suffix] == "json":
        check_json(file)
    verbosity = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # it logs what the error below says
    try:
        return datasets.load_dataset(_READERS[file.suffix], data_files=glob.escape(str(file)), split="train")
    except MemoryError:
        raise
    except Exception as error:  # what reads the kinds of files, archives under any name among them, raises all kinds
        cause = error.__cause__ or error
        if any(words in str(cause) for words in _NO_ROWS):
            raise UserError(f"{file} is empty; give a file with texts and labels") from error
        raise UserError(f"{file} cannot be read as {_READERS[file.suffix]}: {cause}") from error
    finally:
        datasets.logging.set_verbosity(verbosity)


def _find_file(name: str, split: str) -> Path | None:
    """Find a split's file; None means that the source is a name on the Hub."""
    source = Path(name)
    if source.is_file():
        if split not in ("train", "test"):
            raise UserError(
                f"data.source is the file {source}, which is split, but data.train or data.test is {split!r}; give the "
                "folder of both files, or leave these out"
            )
        if source.suffix not in _READERS:
            raise UserError(f"{source} has the suffix {source.suffix!r}; valid: {', '.join(_READERS)}")
        return source
    places = [source / split] + ([Path(split)] if Path(split).suffix or len(Path(split).parts) > 1 else [])
    places += [source / f"{split}{suffix}" for suffix in _READERS]
    file = next((path for path in places if path.is_file()), None)
    if file is not None and file.suffix not in _READERS:
        raise UserError(f"{file} has the suffix {file.suffix!r}; valid: {', '.join(_READERS)}")
    if file is None and source.is_dir():
        found = sorted(path.name for path in source.iterdir())
        raise UserError(
            f"{source} holds no {split}{{{','.join(_READERS)}}}; it holds: {', '.join(found) or 'nothing'}. "
            "Set data.train and data.test to the names of the files"
        )
    if file is None and (source.exists() or source.is_absolute() or name.startswith(".")):
        here = "" if source.is_absolute() else f" in the current folder, {Path.cwd()}"
        raise UserError(f"data.source {name!r} is not a folder{here}; give a folder or a name on the Hub")
    return file


def _read_from_hub(cfg: DataConfig, split: str) -> Any:
    import datasets

    from sae_lens_classif.hub import cache_alone, hub_is_reachable, hub_unreachable_message

    offline = not hub_is_reachable()
    try:
        with cache_alone(offline):
            return datasets.load_dataset(
                cfg.source,
                cfg.subset,
                split=split,
                download_config=datasets.DownloadConfig(local_files_only=offline, max_retries=0 if offline else 2),
            )
    except (OSError, ValueError, RuntimeError) as error:
        if offline and isinstance(error, OSError):  # not where it is cached but the split or subset is wrong
            raise UserError(hub_unreachable_message(f"the data set {cfg.source}")) from error
        reason = " ".join(str(error).split())
        raise UserError(
            f"the data set {cfg.source} (split {split}, data.subset {cfg.subset}) cannot be loaded: {reason}"
        ) from error


def _cut(texts: list[Any], max_characters: int | None, where: str) -> list[str]:
    """Texts of so many characters at most, none of them empty."""
    if not texts:
        raise UserError(f"{where} are none at all; at least one text is needed")
    not_strings = [row for row, text in enumerate(texts) if not isinstance(text, str)]
    if not_strings:
        row = not_strings[0]
        raise UserError(
            f"{len(not_strings)} of {where} are not strings (row {row} is of type "
            f"{type(texts[row]).__name__}); remove those rows or name another data.text_column"
        )
    halves = [row for row, text in enumerate(texts) if not is_text(text)]
    if halves:
        raise UserError(f"{len(halves)} of {where} hold half a character (the first is row {halves[0]}); save as UTF-8")
    cut = [text[:max_characters] for text in texts]
    empty = [row for row, text in enumerate(cut) if not text.strip()]
    if empty:
        raise UserError(f"{len(empty)} of {where} are empty (the first is row {empty[0]}); remove those rows")
    return cut


def _pairs(firsts: list[str], seconds: list[str], where: str) -> list[str]:
    """Each first text and its second as one."""
    pairs = [f"{first} {PAIR_MARK} {second}" for first, second in zip(firsts, seconds, strict=True)]
    unclear = [row for row, pair in enumerate(pairs) if pair.count(PAIR_MARK) > 1]
    if unclear:
        raise UserError(
            f"row {unclear[0]} of {where} holds {PAIR_MARK}, which stands between the two of a pair; take it out"
        )
    return pairs
