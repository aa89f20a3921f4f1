"""Labels as people write them, as numbers: one class a text, or sets of labels."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sae_lens_classif.config.classifier import MOST_LABELS, DataConfig
from sae_lens_classif.errors import UserError, nearest

logger = logging.getLogger(__name__)


def number_labels(
    labels: list[Any], names: tuple[str, ...] | None, model_names: tuple[str, ...] | None, where: str
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Labels as numbers, int64 (n,), and the names of the classes.

    Args:
        labels: Of each text, a number or the name of a class.
        names: How the classes are called, if that is known.
        model_names: How the model calls them; used where ``names`` is None and the labels may be these.
        where: Whose labels they are, for errors.

    Raises:
        UserError: If they are neither 0..C-1 nor names, or there are fewer than two classes.
    """
    if all(isinstance(label, str) for label in labels):
        if names is None and model_names is not None and set(labels) <= set(model_names):
            names = model_names
        class_names = names or tuple(sorted(set(labels)))
        numbers = {name: number for number, name in enumerate(class_names)}
        unknown = sorted(set(labels) - set(numbers))
        if unknown:
            raise UserError(f"the labels of {where} contain {unknown[0]!r}; {nearest(unknown[0], list(class_names))}")
        values = [numbers[label] for label in labels]
    else:
        values = [_whole_number(label, row, where) for row, label in enumerate(labels)]
        found = sorted(set(values))
        if names is None and model_names is not None and found[-1] < len(model_names):
            names = model_names
        if names is None and found != list(range(len(found))) and len(found) > 1:
            shown = ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")
            raise UserError(
                f"the labels of {where} are {shown}; {len(found)} classes must be 0..{len(found) - 1}: "
                "number them so, or set data.class_names"
            )
        if names is None:
            _check_several(values, where)  # a single one may be any number, and so many classes no list holds
        class_names = names or tuple(str(number) for number in range(len(found)))
    _check_classes(values, class_names, where)
    return np.asarray(values, dtype=np.int64), class_names


def _whole_number(label: Any, row: int, where: str) -> int:
    if isinstance(label, int):
        return int(label)
    raise UserError(f"the label of row {row} of {where} is {label!r}; labels must be 0..C-1 or names of classes")


def _check_names(names: tuple[str, ...]) -> None:
    if len(set(names)) < len(names):
        raise UserError(f"the class names {list(names)} are not all different")


def _check_classes(values: list[int], class_names: tuple[str, ...], where: str) -> None:
    n_classes = len(class_names)
    _check_names(class_names)
    outside = [value for value in values if not 0 <= value < n_classes]
    if outside:
        raise UserError(
            f"the labels of {where} contain {outside[0]}; with {n_classes} classes they must be 0..{n_classes - 1}"
        )
    _check_several(values, where)
    missing = sorted(set(range(n_classes)) - set(values))
    if missing:
        logger.warning("%s have no text of class %s", where, class_names[missing[0]])


def _check_several(values: list[int], where: str) -> None:
    if len(set(values)) < 2:
        raise UserError(f"{where} are all of one class; a classifier needs at least two. Check data.label_column")


def number_label_sets(
    labels: list[Any], names: tuple[str, ...] | None, model_names: tuple[str, ...] | None, where: str
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Sets of labels (see ``decisions``), int64 (n,), and the names of the labels; else as ``number_labels``.

    Args:
        labels: Of each text a list: names or numbers of its labels; or, for each label, whether it has it: 0 or 1.
        names: How the labels are called, if that is known.
        model_names: How the model calls them.
        where: Whose labels they are, for errors.
    """
    for row, own in enumerate(labels):
        if not isinstance(own, list) or not all(isinstance(label, str | int | float) for label in own):
            raise UserError(f"the label of row {row} of {where} is {own!r}; it must be a list of names or numbers")
    n_vector = _length_of_vectors(labels)
    if n_vector:
        labels = [[number for number, value in enumerate(own) if value] for own in labels]
    found = {label for own in labels for label in own}
    if names is None and model_names is not None and _may_be(found, model_names, n_vector):
        names = model_names
    if names is None:
        names = _names_of(found, n_vector, where)
    numbers: dict[Any, int] = {name: number for number, name in enumerate(names)}
    numbers |= {number: number for number in range(n_vector or len(names))}
    unknown = next((label for label in found if label not in numbers), None)
    if unknown is not None:
        raise UserError(f"the labels of {where} contain {unknown!r}; {nearest(str(unknown), list(names))}")
    _check_names(names)
    if not 2 <= len(names) <= MOST_LABELS or n_vector not in (0, len(names)):
        raise UserError(
            f"{where} have {n_vector or len(names)} labels; there must be 2 to {MOST_LABELS}, as many as names"
        )
    sets = np.array(
        [sum(1 << number for number in {numbers[label] for label in own}) for own in labels], dtype=np.int64
    )
    if len(set(sets.tolist())) < 2:
        raise UserError(f"{where} all have the same labels; a classifier needs at least two. Check data.label_column")
    missing = [name for number, name in enumerate(names) if not (sets >> number & 1).any()]
    if missing:
        logger.warning("%s have no text of label %s", where, missing[0])
    return sets, names


def _length_of_vectors(labels: list[list[Any]]) -> int:
    """How many labels there are, if each text has a 0 or 1 for each of them; else 0."""
    lengths, values = {len(own) for own in labels}, {value for own in labels for value in own}
    are_vectors = len(lengths) == 1 and values <= {0, 1} and any(len(set(own)) < len(own) for own in labels)
    return lengths.pop() if are_vectors else 0


def _may_be(labels: set[Any], names: tuple[str, ...], n_vector: int) -> bool:
    """Whether labels are all names of these classes, or numbers of them."""
    if n_vector:
        return n_vector == len(names)
    return labels <= set(names) or all(isinstance(label, int) and label < len(names) for label in labels)


def _names_of(labels: set[Any], n_vector: int, where: str) -> tuple[str, ...]:
    if labels and all(isinstance(label, str) for label in labels):
        return tuple(sorted(labels))
    strange = [label for label in labels if isinstance(label, str) or label not in range(MOST_LABELS + 1)]
    if strange:
        raise UserError(f"the labels of {where} contain {strange[0]!r}; lists must hold names, or numbers 0..C-1")
    return tuple(str(number) for number in range(n_vector or int(max(labels, default=-1)) + 1))


def sets_of_columns(columns: Sequence[Sequence[Any]], cfg: DataConfig) -> list[list[str]]:
    """Names of the labels of each text, from columns of 0 and 1.

    Args:
        columns: One a label.
        cfg: What they are called.

    Raises:
        UserError: If there is anything else in one.
    """
    names = cfg.label_columns or ()
    for name, column in zip(names, columns, strict=True):
        strange = next((row for row, value in enumerate(column) if value not in (0, 1)), None)
        if strange is not None:
            raise UserError(
                f"row {strange} of the column {name!r} of {cfg.source} holds {column[strange]!r}; data.label_columns "
                "must hold 0 or 1"
            )
    return [[name for name, value in zip(names, row, strict=True) if value] for row in zip(*columns, strict=True)]
