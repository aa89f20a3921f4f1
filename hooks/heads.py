"""What a classification head says of its classes."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedConfig

from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.backends import ModelRequest

_NO_NAME = re.compile(r"(LABEL_)?\d+")


def check_head(config: PreTrainedConfig, request: ModelRequest) -> None:
    """Refuse a head that does not tell the classes apart that are asked for.

    Raises:
        UserError: If it gives one number or several labels at once, has another number of classes, or calls them
            otherwise.
    """
    n_labels = config.num_labels or 0
    if config.problem_type == "multi_label_classification":
        raise UserError(
            f"{request.name} may give a text several labels at once (problem_type {config.problem_type}), which cannot "
            "be explained yet; give a model with one class a text"
        )
    if n_labels < 2 or config.problem_type == "regression":
        raise UserError(
            f"the head of {request.name} gives one number and no class; give a model of at least two classes"
        )
    own, asked = names_in_config(config.id2label or {}), request.class_names
    if len(asked) != n_labels:
        raise UserError(
            f"the head of {request.name} has {n_labels} classes, asked for are {len(asked)} ({', '.join(asked)}); give "
            "data of the same classes"
        )
    if own is not None and not is_nameless(asked) and asked != own:
        raise UserError(
            f"the head of {request.name} calls its classes {', '.join(own)}, in this order; asked for are "
            f"{', '.join(asked)}; give these names in that order (data.class_names), or a model of your classes"
        )


def names_in_config(id2label: Mapping[Any, str]) -> tuple[str, ...] | None:
    """Names of classes as a ``config.json`` has them; None where they are numbers or transformers' ``LABEL_0``."""
    names = tuple(str(name) for _, name in sorted((int(number), name) for number, name in id2label.items()))
    return None if is_nameless(names) else names


def is_nameless(names: Sequence[str]) -> bool:
    """Whether these are no names, but numbers, or transformers' ``LABEL_0``."""
    return all(_NO_NAME.fullmatch(name) for name in names)
