"""Ways to run a language model, one module each: it says which architectures it opens, and opens them.

A module here, or one of another package behind an entry point of the group ``sae_lens_classif.backends``, is a
``Backend``. Nothing heavy is imported to name them.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Protocol, cast

from sae_lens_classif.errors import UserError, nearest

if TYPE_CHECKING:
    import torch

    from sae_lens_classif.config.run import PromptConfig
    from sae_lens_classif.hooks.classifier import TextClassifier

DEFAULT = "hooked_transformer"
GROUP = "sae_lens_classif.backends"


@dataclass(frozen=True)
class ModelRequest:
    """The model that is to be opened.

    Attributes:
        model: A local folder, or a name on the Hub.
        name: How the classifier is called.
        class_names: Names of the C classes.
        prompt: Template and label words, for a model that answers a prompt. None: the default.
        hook: Hidden state that is explained. None: the backend's choice.
        dtype: Precision the model runs in.
        device: Where it runs.
    """

    model: str
    name: str
    class_names: tuple[str, ...]
    prompt: "PromptConfig | None"
    hook: str | None
    dtype: "torch.dtype"
    device: "torch.device"


class Backend(Protocol):
    """A module that opens models; its name, or that of its entry point, is the backend's.

    Attributes:
        ARCHITECTURES: What it can open, as ``architectures`` of a ``config.json`` names it.
    """

    @property
    def ARCHITECTURES(self) -> Sequence[str]: ...

    def open_model(self, request: ModelRequest) -> "TextClassifier":
        """Open a model.

        Raises:
            UserError: If it cannot be.
        """
        ...


def backend_names() -> list[str]:
    """Names of all backends, those of this package first."""
    return [*_built_in(), *_of_other_packages()]


def find_backend(name: str) -> Backend:
    """The backend of a name.

    Raises:
        UserError: If there is none, or another package's cannot be imported.
    """
    if name in _built_in():
        return cast(Backend, importlib.import_module(f"{__name__}.{name}"))
    if name not in _of_other_packages():
        raise UserError(f"classifier.backend is {name!r}; {nearest(name, backend_names())}")
    try:
        return cast(Backend, _of_other_packages()[name].load())
    except Exception as error:  # whatever the other package does
        raise UserError(
            f"the backend {name!r} of another package cannot be imported ({type(error).__name__}: {error}); "
            "repair or uninstall that package"
        ) from error


def backend_for(architecture: str) -> Backend | None:
    """The first backend that opens an architecture, if there is one."""
    backends = map(find_backend, backend_names())
    return next((backend for backend in backends if architecture in backend.ARCHITECTURES), None)


def _built_in() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def _of_other_packages() -> dict[str, EntryPoint]:
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    return {name: found[name] for name in sorted(found) if name not in _built_in()}
