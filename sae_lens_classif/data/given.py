"""Texts as people have them in Python: one split of them, or written where ``load_text_data`` finds them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sae_lens_classif.checksums import sha256_of_file, sha256_of_json
from sae_lens_classif.config.classifier import GIVEN, DataConfig
from sae_lens_classif.data.texts import TextData, text_data_of
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.files import new_folder, replace_folder

_KINDS = (
    f"{GIVEN}; or a dict of two of these, train and test, as a datasets.DatasetDict is; or a path or a name on the Hub"
)


def as_text_data(data: Any, class_names: tuple[str, ...], cfg: DataConfig | None = None) -> TextData:
    """One split of texts that were given in Python.

    Args:
        data: See ``GIVEN`` of the settings.
        class_names: Names of the classes in the order of the model.
        cfg: How the columns are called.

    Raises:
        UserError: If it is something else, or the texts or labels cannot be.
    """
    if isinstance(data, TextData):
        return data
    cfg = cfg or DataConfig()
    if isinstance(data, str | Path | Mapping):
        raise UserError(
            f"data is of type {type(data).__name__}; give the texts of one split: {GIVEN}. What a path or a name on "
            "the Hub holds is read by load_text_data(DataConfig(source), 'test')"
        )
    return text_data_of(_table(data, cfg, GIVEN), cfg, class_names)


def texts_of(data: Any, column: str = "text") -> Iterable[str]:
    """Texts alone, as they are at hand; a generator is left to be read bit by bit.

    Args:
        data: A text, any number of them, a ``TextData``, or a DataFrame or ``datasets.Dataset``.
        column: Which column of a table holds the texts.

    Raises:
        UserError: If it is something else, or has no such column.
    """
    if isinstance(data, TextData):
        return data.texts
    if isinstance(data, Iterable) and not isinstance(data, str | bytes | Mapping):
        names = getattr(data, "column_names", getattr(data, "columns", None))  # of a Dataset, of a DataFrame
        if names is None:
            return data
        if column in names:
            return data[column]  # type: ignore[index,no-any-return]  # as every table
        raise UserError(f"there is no column {column!r} in the texts; {nearest(column, list(names))}")
    if isinstance(data, str):
        return [data]
    raise UserError(
        f"the texts are of type {type(data).__name__}; give a text, a list or a column of texts, a TextData, or a "
        f"pandas DataFrame or a datasets.Dataset with the column {column!r}"
    )


def write_given(data: Any, folder: Path, cfg: DataConfig) -> DataConfig:
    """Write texts that were given in Python, and give the settings that load them.

    Args:
        data: See ``_KINDS``. Where there is one table, ``load_text_data`` splits it.
        folder: Gets parquet files, in a folder of their own.
        cfg: How their columns are called.

    Raises:
        UserError: If it is something else.
    """
    if isinstance(data, str | Path):
        return replace(cfg, source=str(data))
    tables = {name: _table(one, cfg, _KINDS) for name, one in _splits(data).items()}
    empty = [name for name, table in tables.items() if not len(table)]
    if empty:
        raise UserError(f"the {empty[0]} of data are none at all; at least one text is needed")
    with new_folder(folder / "new") as temporary:
        for name, table in tables.items():
            table.to_parquet(temporary / f"{name}.parquet")
        digest = sha256_of_json([sha256_of_file(temporary / f"{name}.parquet") for name in tables])
    # By its content: what an earlier run was made from is never written over.
    kept = folder / digest[:12]
    replace_folder(folder / "new", kept)
    source = kept if len(tables) > 1 else kept / "texts.parquet"
    names = _class_names(data) if cfg.class_names is None else cfg.class_names
    return replace(cfg, source=str(source.resolve()), train="train", test="test", class_names=names)


def _class_names(data: Any) -> tuple[str, ...] | None:
    """The classes in their order, where that is known."""
    one = data["train"] if isinstance(data, Mapping) else data
    return one.class_names if isinstance(one, TextData) else None


def _splits(data: Any) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        return {"texts": data}
    if {"train", "test"} <= data.keys():
        return {name: data[name] for name in ("train", "test")}
    raise UserError(f"data is a dict with {', '.join(map(str, data))}; it must have train and test")


def _table(data: Any, cfg: DataConfig, kinds: str) -> Any:
    """A ``datasets.Dataset``."""
    import datasets
    import pandas as pd

    if isinstance(data, datasets.Dataset):
        return data
    if isinstance(data, pd.DataFrame):
        categories = {name: kind for name, kind in data.dtypes.items() if isinstance(kind, pd.CategoricalDtype)}
        plain = data.astype({name: kind.categories.dtype for name, kind in categories.items()})
        return datasets.Dataset.from_pandas(plain, preserve_index=False)
    if isinstance(data, TextData):
        return datasets.Dataset.from_dict({cfg.text_column: list(data.texts), cfg.label_column: _labels(data)})
    if isinstance(data, Sequence) and not isinstance(data, str):
        if data and all(isinstance(row, Mapping) for row in data):
            return datasets.Dataset.from_list([dict(row) for row in data])
        if len(data) == 2 and not any(isinstance(column, str) for column in data):
            texts, labels = map(list, data)
            if len(texts) != len(labels):
                raise UserError(f"data has {len(texts)} texts and {len(labels)} labels; give as many of each")
            return datasets.Dataset.from_dict({cfg.text_column: texts, cfg.label_column: labels})
    raise UserError(f"data is of type {type(data).__name__}; give {kinds}")


def _labels(data: TextData) -> list[Any]:
    """Names, or lists of names."""
    names, members = data.class_names, data.rule.members
    own = [[names[number] for number in members(label, len(names))] for label in data.labels.tolist()]
    return own if data.multi_label else [name for (name,) in own]
