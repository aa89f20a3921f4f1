"""The one interface of every concept method (fit, encode, decode, save, load), and the one registry of them.

A method says beside its class all that others must know of it: its name, its title, its settings, what it depends on.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from pydantic import BaseModel
from sae_lens import SAE

from sae_lens_classif.artifacts import settings_that_matter
from sae_lens_classif.checksums import read_tensors, sha256_of_file, sha256_of_files, write_json, write_tensors
from sae_lens_classif.config.methods import BaselineConfig
from sae_lens_classif.config.run import SAESettings, TrainConfig
from sae_lens_classif.config.yaml import settings_from
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.files import new_folder
from sae_lens_classif.hooks.classifier import TextClassifier
from sae_lens_classif.methods.listing import titles
from sae_lens_classif.plugins import built_in, from_outside, load
from sae_lens_classif.reading import inside
from sae_lens_classif.shapes import in_shape, read_shape
from sae_lens_classif.store.shuffle import Rows
from sae_lens_classif.store.store import ActivationStore

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Declared = type[DataclassInstance] | None

_REFIT = "delete the folder and fit the method again (`compare`)"
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
        baselines: Settings of the other built-in methods.
        settings: Settings of the method's own, of the dataclass that it declares; None where it declares none.
    """

    store: ActivationStore
    classifier: TextClassifier
    n_concepts: int = 20
    seed: int = 0
    sae: SAESettings = field(default_factory=SAESettings)
    train: TrainConfig = field(default_factory=TrainConfig)
    baselines: BaselineConfig = field(default_factory=BaselineConfig)
    settings: Any = None

    @cached_property
    def hidden(self) -> torch.Tensor:
        """float32 (N, d_in), hidden states of the training texts, or of ``train.data_share`` of them."""
        return self.store.rows("hidden", self._rows).float()

    @cached_property
    def predicted(self) -> torch.Tensor:
        """int64 (N,), classes that the model predicted for them, or sets of labels (see ``decisions``)."""
        return self.store.rows("predicted", self._rows)

    @property
    def groups(self) -> torch.Tensor:
        """int64 (N,), the same where there is one class a text; of several labels the rarest, C where there is none."""
        return self.store.rule.groups(self.predicted, self.store.n_classes)

    @cached_property
    def _rows(self) -> Rows:
        if self.train.data_share == 1:
            return np.arange(len(self.store))
        split = self.store.training_rows(self.train.validation_share, self.seed, self.train.data_share)
        return np.sort(split.training(np.arange(split.n_training)))  # those that an SAE is trained on


Fit = Callable[[FitTask], "ConceptMethod"]
Grid = Mapping[str, Sequence[Any]]
_NOTHING: Grid = {}
_Fit = TypeVar("_Fit", bound=Fit)


class ConceptMethod(ABC):
    """Anything that finds concepts in hidden states.

    A subclass is a dataclass of tensors, plain values (numbers, strings, lists of them) and SAEs of SAELens: these
    are what ``save`` writes and ``load`` hands to the constructor again. A class statement with ``name=...`` makes
    the method known to ``compare`` and ``load_method``; beside the name it may say, as ``MethodSpec`` explains,
    ``title=``, ``settings=``, ``trains_sae=``, ``source=`` and ``tune=``.

    Attributes:
        name: Name of the method.
        notes: What a reader of its results must know, such as a fit that did not converge.
    """

    name: ClassVar[str] = ""
    notes: tuple[str, ...] = ()

    def __init_subclass__(
        cls,
        name: str = "",
        title: str | None = None,
        settings: "Declared" = BaselineConfig,
        trains_sae: bool = True,
        source: str = "",
        tune: Grid = _NOTHING,
    ) -> None:
        super().__init_subclass__()
        if name:
            cls.name = name
            title = name if title is None else title
            _register(MethodSpec(name, title, cls, cls.fit, cls.check, settings, trains_sae, source, tune))

    @classmethod
    def variant(cls, name: str, title: str, tune: Grid = _NOTHING) -> Callable[[_Fit], _Fit]:
        """Register a function as another way to fit this class, with the same settings; a decorator.

        What is tuned is a variant's own: another loss has other settings that count.
        """

        def declare(fit: _Fit) -> _Fit:
            _register(replace(REGISTRY[cls.name], name=name, title=title, learn=fit, tune=tune))
            return fit

        return declare

    @classmethod
    def check(cls, d_in: int, n_concepts: int) -> None:
        """Refuse, before anything is fitted, what this method cannot do.

        Args:
            d_in: Width of the hidden states.
            n_concepts: How many concepts are asked for.

        Raises:
            UserError: If it cannot.
        """
        return  # most can do every width and number

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

    def in_own_norm(self, decoded: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """What ``decode`` gave, in the scale of hidden states that the method itself means.

        Args:
            decoded: float32 (B, d_in), what ``decode`` gave.
            hidden: float32 (B, d_in), the hidden states that the concepts are of.

        Returns:
            float32 (B, d_in), on the CPU. Default: as it was decoded.
        """
        return decoded

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
        if not is_dataclass(self):
            raise UserError(f"{type(self).__name__} is no dataclass; put @dataclass above it so that it can be saved")
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.init}
        tensors = {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}
        saes = {name: value for name, value in values.items() if isinstance(value, SAE)}
        plain = {name: value for name, value in values.items() if name not in {*tensors, *saes}}
        with new_folder(Path(folder)) as temporary:
            for name, sae in saes.items():
                sae.save_model(temporary / name)
            if tensors:
                # Copies: safetensors refuses tensors that share memory.
                write_tensors(temporary / _TENSORS, {name: value.clone() for name, value in tensors.items()})
            content = {
                "method": self.name,
                "values": plain,
                "saes": sorted(saes),
                "notes": list(self.notes),
                "sha256": sha256_of_files(temporary),
            }
            write_json(temporary / METHOD_FILE, content)

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
        tensors = read_tensors(folder / _TENSORS)[0] if (folder / _TENSORS).is_file() else {}
        try:
            saes: dict[str, SAE[Any]] = {
                name: SAE.load_from_disk(inside(folder, name), device="cpu") for name in content["saes"]
            }
            method = cls(**content["values"], **tensors, **saes)
        except (TypeError, OSError) as error:
            raise UserError(
                f"{folder / METHOD_FILE} is not what {cls.name} writes ({type(error).__name__}: {error}); {_REFIT}"
            ) from error
        method.notes = tuple(content["notes"])
        return method


@dataclass(frozen=True)
class MethodSpec:
    """A concept method as it is registered; everything that is done with methods asks this.

    Attributes:
        name: Its name, also of its folder.
        title: How tables and figures call it; empty where only its variants are compared.
        kind: Its class.
        learn: Finds its concepts.
        check: Refuses hidden states of a width d_in, or a number of concepts, that it cannot do.
        settings: The dataclass of its settings. One that ``BaselineConfig`` inherits from is read out of the section
            ``baselines``, any other from ``compare.settings`` under the method's name. A method that does not say
            gets all of ``baselines``.
        trains_sae: Whether it depends on the sections ``sae`` and ``train``.
        source: Anything else it depends on: the checksum of a guest SAE, or a word that is changed once the method
            finds other concepts with the same settings.
        tune: Values of the settings among which ``compare.tune`` looks for the best: ``sae.`` and ``train.`` settings
            of a method that depends on them, and without a section those of ``settings``. Nothing: it is not tuned.
    """

    name: str
    title: str
    kind: type[ConceptMethod]
    learn: Fit
    check: Callable[[int, int], None]
    settings: "Declared" = BaselineConfig
    trains_sae: bool = True
    source: str = ""
    tune: Grid = field(default_factory=dict)

    def fit(self, task: FitTask) -> ConceptMethod:
        """Find its concepts; of the settings it sees those that it declares, the others have their defaults."""
        seen = replace(task, baselines=BaselineConfig(**self._of_baselines(task.baselines)))
        if not self.trains_sae:
            train = TrainConfig(data_share=task.train.data_share, validation_share=task.train.validation_share)
            seen = replace(seen, sae=SAESettings(), train=train)
        return self.learn(seen)

    def own_settings(self, given: Mapping[str, Mapping[str, Any]]) -> Any:
        """Its settings that are no part of ``baselines``, or None.

        Args:
            given: Those of each method, ``compare.settings``.

        Raises:
            UserError: If it has no setting of a name that is given, or a value is not valid.
        """
        values, where = given.get(self.name, {}), f"compare.settings.{self.name}"
        shared = self._of_baselines(BaselineConfig())
        if self.settings is not None and not shared:
            return settings_from(self.settings, values, where)
        if values:
            known = ", ".join(f"baselines.{entry}" for entry in shared) or "none"
            raise UserError(f"{where} sets {', '.join(values)}, but the settings of {self.name} are: {known}")
        return None

    def made_from(self, task: FitTask, tuned: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Everything that the fitted method depends on, as JSON can hold it.

        Args:
            task: What it learns from.
            tuned: How the task's settings give way to better ones. Default: they do not.
        """
        depends: dict[str, Any] = {"source": self.source, "baselines": self._of_baselines(task.baselines)}
        depends["data_share"] = task.train.data_share
        if task.settings is not None:
            depends["compare"] = {"settings": {self.name: settings_that_matter(task.settings)}}
        if self.trains_sae:
            sizes = (task.store.n_classes, task.store.d_in, task.store.multi_label)
            sae = replace(task.sae, n_concepts=task.n_concepts).sized(*sizes)
            depends["sae"] = asdict(sae)
            depends["train"] = settings_that_matter(task.train.with_rates(sae.recipe, task.n_concepts))
            del depends["train"]["seed"]  # the task's counts
        elif task.train.data_share < 1:
            depends["validation_share"] = task.train.validation_share  # which texts are among them
        return {
            "store": task.store.fingerprint(),
            "method": self.name,
            "n_concepts": task.n_concepts,
            "seed": task.seed,
            "settings": depends,
            "tuned": None if tuned is None else dict(tuned),
        }

    def _of_baselines(self, given: BaselineConfig) -> dict[str, Any]:
        """Its settings that stand in the section ``baselines``."""
        if self.settings is None or not issubclass(BaselineConfig, self.settings):
            return {}
        return {entry.name: getattr(given, entry.name) for entry in fields(self.settings)}


REGISTRY: dict[str, MethodSpec] = {}


def _register(spec: MethodSpec) -> None:
    taken = REGISTRY.get(spec.name)
    if taken is not None and _place(taken.kind) != _place(spec.kind):  # a module that is read again may say it again
        raise UserError(f"{spec.kind.__name__}: the name {spec.name!r} is taken by {_place(taken.kind)}; use another")
    REGISTRY[spec.name] = spec


def _place(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _read_content(folder: Path) -> dict[str, Any]:
    """What ``method.json`` says."""
    file, remedy = folder / METHOD_FILE, f"delete {folder} and fit the method again"
    content: dict[str, Any] = read_shape(dict[str, Any], file, "`compare`", remedy)
    in_shape(_Content, content, file, "`compare`", remedy)
    return content


class _Content(BaseModel):
    """What ``method.json`` holds beside its own checksum."""

    method: str
    values: dict[str, Any]
    saes: list[str]
    notes: list[str]
    sha256: dict[str, str]


def _check_files(folder: Path, checksums: Mapping[str, str]) -> None:
    for name, expected in checksums.items():
        path = inside(folder, name)
        if not path.is_file() or sha256_of_file(path) != expected:
            state = "was altered" if path.is_file() else "is missing"
            raise UserError(f"{path} {state}; delete {folder} and fit the method again (`compare`)")
    read = {path.relative_to(folder).as_posix() for path in folder.rglob("*.safetensors")}
    unknown = sorted(read - checksums.keys())
    if unknown:
        raise UserError(f"{folder / METHOD_FILE} says nothing of {unknown[0]}, which lies beside it; {_REFIT}")


def built_in_methods() -> dict[str, MethodSpec]:
    """The methods of this package that can be compared, by name: those of every module beside this one."""
    for point in built_in("methods").values():
        load(point)
    return {name: spec for name, spec in sorted(REGISTRY.items()) if spec.title and is_built_in(spec)}


def registered_method(name: str) -> MethodSpec | None:
    """The method of a name, if a module of this package, another package's entry point or an imported module has it.

    Raises:
        UserError: If an entry point of that name cannot be loaded.
    """
    built_in_methods()
    point = from_outside("methods").get(name)
    if name not in REGISTRY and point is not None:
        load(point)
        if name not in REGISTRY:
            raise UserError(
                f"the entry point {name} = {point.value} has no method of that name; "
                f"write class ...(ConceptMethod, name={name!r})"
            )
    return REGISTRY.get(name)


def is_built_in(spec: MethodSpec) -> bool:
    """Whether a method is part of this package."""
    return spec.kind.__module__.startswith(f"{__package__}.")


def load_method(folder: str | Path) -> ConceptMethod:
    """Read a fitted method of any kind.

    Args:
        folder: What a method's ``save`` wrote.

    Raises:
        UserError: If there is none, or its class is not known: import the module that defines it first.
    """
    name = _read_content(Path(folder))["method"]
    spec = registered_method(name)
    if spec is None:
        raise UserError(
            f"{folder} holds the method {name!r}, which no class has; import the module that defines it first (on "
            "the command line: --method module:Class). "
            f"{nearest(name, sorted({*REGISTRY, *titles()}))}"
        )
    return spec.kind.load(folder)
