"""The one interface of every concept method: fit, encode, decode, save, load."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sae_lens import SAE
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sae_lens_classif.config.run import BaselineConfig, SAESettings, TrainConfig
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.files import new_folder, read_json, sha256_of_file, sha256_of_json, write_json
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.store.shuffle import Rows
from sae_lens_classif.store.store import ActivationStore

METHOD_FILE = "method.json"
_TENSORS = "method.safetensors"


@dataclass(frozen=True)
class FitTask:
    """What a concept method may learn from.

    Attributes:
        store: Hidden states and predicted classes of the training texts.
        classifier: The model that is explained.
        n_concepts: How many concepts to find, n.
        seed: Seed of everything random.
        sae: Settings of the methods that train a sparse autoencoder; ``sae.n_concepts`` gives way to ``n_concepts``.
        train: How they train it; ``train.seed`` gives way to ``seed``.
        baselines: Settings of the other methods.
    """

    store: ActivationStore
    classifier: TextClassifier
    n_concepts: int = 20
    seed: int = 0
    sae: SAESettings = field(default_factory=SAESettings)
    train: TrainConfig = field(default_factory=TrainConfig)
    baselines: BaselineConfig = field(default_factory=BaselineConfig)

    @cached_property
    def hidden(self) -> torch.Tensor:
        """float32 (N, d_in), hidden states of the training texts, or of ``train.data_share`` of them."""
        return self.store.rows("hidden", self._rows).float()

    @cached_property
    def predicted(self) -> torch.Tensor:
        """int64 (N,), classes that the model predicted for them."""
        return self.store.rows("predicted", self._rows)

    @cached_property
    def _rows(self) -> Rows:
        if self.train.data_share == 1:
            return np.arange(len(self.store))
        split = self.store.training_rows(self.train.validation_share, self.seed, self.train.data_share)
        return np.sort(split.training(np.arange(split.n_training)))  # those that an SAE is trained on


class ConceptMethod(ABC):
    """Anything that finds concepts in hidden states.

    A subclass is a dataclass of tensors, plain values (numbers, strings, lists of them) and SAEs of SAELens: these
    are what ``save`` writes and ``load`` hands to the constructor again. A class statement with ``name=...`` makes
    the method known to ``compare`` and ``load_method``.

    Attributes:
        name: Name of the method.
        notes: What a reader of its results must know, such as a fit that did not converge.
    """

    name: ClassVar[str] = ""
    notes: tuple[str, ...] = ()

    def __init_subclass__(cls, name: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if name:
            taken = METHOD_CLASSES.get(name)
            if taken is not None and taken.__module__ != cls.__module__:
                raise UserError(f"{cls.__name__}: the name {name!r} is taken by {taken.__module__}; use another")
            cls.name = name
            METHOD_CLASSES[name] = cls

    @classmethod
    @abstractmethod
    def fit(cls, task: FitTask) -> Self:
        """Find concepts."""

    @abstractmethod
    def encode(self, hidden: torch.Tensor) -> torch.Tensor:
        """Activations of the concepts.

        Args:
            hidden: float32 (B, d_in), on the CPU.

        Returns:
            float32 (B, n), on the CPU.
        """

    @abstractmethod
    def decode(self, concepts: torch.Tensor) -> torch.Tensor:
        """Hidden states that concepts alone stand for; their scale is free.

        Args:
            concepts: float32 (B, n), on the CPU.

        Returns:
            float32 (B, d_in), on the CPU.
        """

    def directions(self) -> torch.Tensor | None:
        """Directions of the concepts in the space of hidden states, float32 (n, d_in); None if it has none."""
        return None

    def autoencoder(self) -> SAE[Any] | None:
        """The sparse autoencoder behind the concepts, if there is one: its reconstruction is measured too."""
        return None

    def save(self, folder: str | Path) -> None:
        """Write the fitted method as safetensors and JSON; the folder is whole or absent.

        Args:
            folder: Is replaced if it is there.
        """
        values = _values(self)
        tensors = {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}
        saes = {name: value for name, value in values.items() if isinstance(value, SAE)}
        plain = {name: value for name, value in values.items() if name not in {*tensors, *saes}}
        with new_folder(Path(folder)) as temporary:
            for name, sae in saes.items():
                sae.save_model(temporary / name)
            if tensors:
                # Copies: safetensors refuses tensors that share memory.
                copies = {name: value.contiguous().clone() for name, value in tensors.items()}
                save_file(copies, temporary / _TENSORS)
            files = sorted(path for path in temporary.rglob("*") if path.is_file())
            content = {
                "method": self.name,
                "values": plain,
                "saes": sorted(saes),
                "notes": list(self.notes),
                "sha256": {str(path.relative_to(temporary)): sha256_of_file(path) for path in files},
            }
            write_json(temporary / METHOD_FILE, {**content, "own_sha256": sha256_of_json(content)})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            UserError: If the folder is incomplete, was altered, or holds another method.
        """
        folder = Path(folder)
        content = _read_content(folder)
        if content["method"] != cls.name:
            raise UserError(f"{folder} holds the method {content['method']!r}, not {cls.name!r}; use load_method")
        _check_files(folder, content["sha256"])
        try:
            tensors = load_file(folder / _TENSORS) if (folder / _TENSORS).is_file() else {}
        except SafetensorError as error:
            raise UserError(f"{folder / _TENSORS} cannot be read ({error}); fit the method again") from error
        saes: dict[str, SAE[Any]] = {name: SAE.load_from_disk(folder / name, device="cpu") for name in content["saes"]}
        method = cls(**content["values"], **tensors, **saes)
        method.notes = tuple(content["notes"])
        return method


METHOD_CLASSES: dict[str, type[ConceptMethod]] = {}


def _values(method: ConceptMethod) -> dict[str, Any]:
    if not is_dataclass(method):
        raise UserError(f"{type(method).__name__} is no dataclass; put @dataclass above it so that it can be saved")
    return {field.name: getattr(method, field.name) for field in fields(method) if field.init}


def _read_content(folder: Path) -> dict[str, Any]:
    """What ``method.json`` says, without its own checksum."""
    content = read_json(folder / METHOD_FILE)
    is_whole = isinstance(content, dict) and content.keys() >= {"method", "values", "saes", "notes", "sha256"}
    if not is_whole or content.pop("own_sha256", None) not in (None, sha256_of_json(content)):
        raise UserError(f"{folder / METHOD_FILE} was altered; delete {folder} and fit the method again")
    return dict(content)


def _check_files(folder: Path, checksums: Mapping[str, str]) -> None:
    for name, expected in checksums.items():
        path = folder / name
        if not path.is_file() or sha256_of_file(path) != expected:
            state = "was altered" if path.is_file() else "is missing"
            raise UserError(f"{path} {state}; delete {folder} and fit the method again")


def load_method(folder: str | Path) -> ConceptMethod:
    """Read a fitted method of any kind.

    Args:
        folder: What a method's ``save`` wrote.

    Raises:
        UserError: If there is none, or its class is not known: import the module that defines it first.
    """
    import sae_lens_classif.methods.registry  # noqa: F401  (the built-in classes; it needs the names above)

    name = _read_content(Path(folder))["method"]
    if name not in METHOD_CLASSES:
        raise UserError(
            f"{folder} holds the method {name!r}, which no class has; import the module that defines it first. "
            f"{nearest(name, sorted(METHOD_CLASSES))}"
        )
    return METHOD_CLASSES[name].load(folder)
