"""Any classifier in two functions: from texts to states, and from states to class logits."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from typing_extensions import override

from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.classifier import Context, StatesAndLogits, TextClassifier
from sae_lens_classif.plugins import module_of_the_user

States = Callable[[list[str]], "torch.Tensor | npt.NDArray[Any]"]
Head = Callable[[torch.Tensor], torch.Tensor]
HOOK = "hook_states"
_PROBES = (
    "The quick brown fox jumps over the lazy dog.",
    "no",
    "Rates rose again, and the market fell with them: why?",
)
_ALIKE = 1e-3  # of the largest number in a state


def classifier_from(
    states: States,
    head: Head,
    class_names: Sequence[str],
    *,
    name: str = "classifier",
    version: str | None = None,
    multi_label: bool = False,
) -> TextClassifier:
    """A classifier of two functions, for all that is no language model of transformers.

    Args:
        states: From n texts to their states, float (n, d), as a tensor or an array: what is explained. A text's state
            must not depend on the texts beside it.
        head: From states, float32 (n, d), to class logits, float (n, C), in torch, so that gradients flow back.
        class_names: Names of the C classes.
        name: How the classifier is called.
        version: Tells it from another; what was made with another version is refused. Default: a checksum of what it
            says of three sentences.
        multi_label: Whether a text may have several of the classes, or none: each by itself, where the sigmoid of its
            logit is above 0.5.

    Raises:
        UserError: If the functions do not give such states and logits.
    """
    return FunctionClassifier(states, head, tuple(class_names), name, version, multi_label)


def open_of_the_user(name: str) -> TextClassifier:
    """Call a function of the user's own that gives a classifier.

    Args:
        name: ``module:function``; the module is also looked for in the folder where the command was typed.

    Raises:
        UserError: If there is no such function, or it gives something else.
    """
    module = module_of_the_user(name, "classifier")
    make = getattr(module, name.partition(":")[2], None)
    if not callable(make):
        raise UserError(f"the module of {name!r} has no function of this name; it has to give a classifier")
    made = make()
    if not isinstance(made, TextClassifier):
        raise UserError(f"{name} gives {type(made).__name__}, no TextClassifier; return slc.classifier_from(...)")
    return made


class Characters:
    """Texts as the numbers of their characters, from which they are put together again for the user's function.

    Attributes:
        cut: Nothing is ever cut.
        max_tokens: As good as no limit.
        prepends_bos: False.
    """

    cut: Literal["beginning", "end"] = "end"
    max_tokens = 10**9
    prepends_bos = False

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """See ``TextInputs``."""
        return [[ord(character) for character in text] for text in texts]

    def described(self) -> dict[str, Any]:
        """See ``TextInputs``."""
        return {"cut": self.cut, "max_tokens": self.max_tokens}

    def made_from(self) -> dict[str, Any]:
        """See ``TextInputs``."""
        return {"texts": "as they are"}


class FunctionClassifier(TextClassifier):
    """See ``classifier_from``. A state is all that the head reads, so that alone and in context are the same."""

    read_at = "what a function of its own makes of the text"

    def __init__(
        self,
        states: States,
        head: Head,
        class_names: tuple[str, ...],
        name: str,
        version: str | None,
        multi_label: bool,
    ) -> None:
        self._states, self._head, self.multi_label = states, head, multi_label
        self.name, self.class_names, self.hook_name = name, class_names, HOOK
        self.inputs, self.device, self.n_blocks_after_hook = Characters(), torch.device("cpu"), 0
        self.d_model = self._states_of(list(_PROBES)).shape[1]
        self.model_fingerprint = self._check(version)

    @override
    @torch.no_grad()
    def states_and_logits(self, inputs: list[list[int]]) -> StatesAndLogits:
        hidden = self._states_of(["".join(map(chr, ids)) for ids in inputs])
        return StatesAndLogits(hidden, self.logits_from(hidden))

    @override
    def context(self, inputs: list[list[int]]) -> Context:
        hidden = self.states_and_logits(inputs).hidden
        return Context(hidden[:, None], torch.zeros(len(inputs), dtype=torch.int64))

    @override
    def logits_from(self, hidden: torch.Tensor, context: Context | None = None) -> torch.Tensor:
        return self._head(hidden.float()).float()

    def _states_of(self, texts: list[str]) -> torch.Tensor:
        found = self._states(texts)
        states = torch.from_numpy(found) if isinstance(found, np.ndarray) else found
        if not isinstance(states, torch.Tensor) or states.dim() != 2 or len(states) != len(texts):
            got = tuple(states.shape) if isinstance(states, torch.Tensor) else type(states).__name__
            raise UserError(f"states gives {got} for {len(texts)} texts; it has to give floats ({len(texts)}, d)")
        return states.detach().float().cpu()

    def _check(self, version: str | None) -> str:
        """Try the functions, and give the classifier's fingerprint."""
        hidden = self._states_of(list(_PROBES))
        one = self._states_of([_PROBES[1]])[0]
        if not hidden.isfinite().all() or (one - hidden[1]).abs().max() > _ALIKE * hidden[1].abs().max():
            raise UserError(
                "states gives numbers that are not finite, or other ones for a text alone than among others; it has to "
                "give each text its own state, whatever is beside it"
            )
        given = hidden.clone().requires_grad_()
        logits = self._head(given)
        if not isinstance(logits, torch.Tensor) or logits.shape != (len(hidden), len(self.class_names)):
            got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise UserError(
                f"head gives {got} for {len(hidden)} states; it has to give a float tensor of as many rows and "
                f"{len(self.class_names)} columns, one a class ({', '.join(self.class_names)})"
            )
        if not logits.requires_grad:
            raise UserError(
                "no gradient flows from the logits of head back to the states; compute it in torch, without "
                "torch.no_grad() or detach()"
            )
        told = version.encode() if version is not None else hidden.numpy().tobytes() + logits.detach().numpy().tobytes()
        return sha256(told).hexdigest()
