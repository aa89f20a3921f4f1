"""What was fitted is kept, a file each: whoever was killed goes on, and ends with the same bytes."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sae_lens_classif.checksums import read_json, sha256_of_json, write_json
from sae_lens_classif.errors import UserError
from sae_lens_classif.features.classifiers import FittedClassifier, Labels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fit:
    """What is kept of a fitted classifier.

    Attributes:
        predicted: int64 (N,), classes of the texts it was tested on.
        picked: Its settings, picked by cross-validation on the training texts.
        cv: Macro F1 there of each combination of settings; empty where nothing was picked.
        standard_error: Of the best of them, over the folds.
    """

    predicted: Labels
    picked: dict[str, Any]
    cv: tuple[float, ...] = ()
    standard_error: float = 0.0


class FitsFolder:
    """Fits by what they were made from; a damaged one is made again, which is said."""

    def __init__(self, folder: str | Path) -> None:
        """
        Args:
            folder: Where they are kept; need not exist.
        """
        self._folder = Path(folder)

    def kept(self, made_from: Mapping[str, Any], fit: Callable[[], tuple[FittedClassifier, Any]]) -> Fit:
        """A fit that is there, or is made now.

        Args:
            made_from: All that it depends on, as JSON can hold it.
            fit: Gives the classifier, and what it is to classify.
        """
        file = self._folder / f"{sha256_of_json(made_from)[:16]}.json"
        known = _read(file, made_from)
        if known is None:
            fitted, given = fit()
            error = fitted.standard_error
            known = Fit(fitted.predict(given), dict(fitted.picked), fitted.macro_f1_of_all, error)
            cv = {"cv": list(known.cv), "standard_error": error}
            write_json(
                file, {"made_from": made_from, "predicted": known.predicted.tolist(), "picked": known.picked, **cv}
            )
        return known


def _read(file: Path, made_from: Mapping[str, Any]) -> Fit | None:
    """What was fitted before; None where nothing was, or it is damaged, which is said."""
    if not file.is_file():
        return None
    try:
        content = read_json(file, "features")
        if content["made_from"] != made_from:
            return None
        predicted, cv = np.asarray(content["predicted"], np.int64), tuple(content["cv"])
        return Fit(predicted, content["picked"], cv, content["standard_error"])
    except (UserError, LookupError, TypeError) as error:
        logger.warning("%s: it is fitted again", error)
        return None
