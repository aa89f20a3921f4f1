"""Ways to run a language model, one module each: it says which architectures it opens, and opens them.

A module here, or one of another package behind an entry point of the group ``sae_lens_classif.backends``, is a
``Backend``. Nothing heavy is imported to name them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Protocol, cast

from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.plugins import load, members

if TYPE_CHECKING:
    import torch

    from sae_lens_classif.config.classifier import PromptConfig
    from sae_lens_classif.hooks.classifier import TextClassifier

DEFAULT = "hooked_transformer"


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
        multi_label: Whether a head that does not say so gives a text any number of labels.
    """

    model: str
    name: str
    class_names: tuple[str, ...]
    prompt: "PromptConfig | None"
    hook: str | None
    dtype: "torch.dtype"
    device: "torch.device"
    multi_label: bool = False


class RunsOtherwiseError(UserError):
    """A backend would run a model otherwise than the model runs itself; another backend may do."""


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
            RunsOtherwiseError: If what it says would be another than what the model says by its own code.
            UserError: If it cannot be.
        """
        ...


def backend_names() -> list[str]:
    """Names of all backends, those of this package first."""
    return list(_backends())


def find_backend(name: str) -> Backend:
    """The backend of a name.

    Raises:
        UserError: If there is none, or another package's cannot be imported.
    """
    found = _backends()
    if name not in found:
        raise UserError(f"classifier.backend is {name!r}; {nearest(name, list(found))}")
    return cast(Backend, load(found[name]))


def backend_for(architecture: str) -> Backend | None:
    """The first backend that opens an architecture, if there is one."""
    backends = (cast(Backend, load(point)) for point in _backends().values())
    return next((backend for backend in backends if architecture in backend.ARCHITECTURES), None)


def _backends() -> dict[str, EntryPoint]:
    return members("hooks.backends", "ARCHITECTURES")
