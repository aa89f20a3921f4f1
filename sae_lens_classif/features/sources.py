"""What features of texts are taken from: the latents of an SAE, or the residual stream itself."""

import re
from abc import ABC, abstractmethod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from sae_lens import SAE
from scipy.sparse import csr_array
from scipy.sparse import vstack as stacked

from sae_lens_classif.checksums import sha256_of_json, sha256_of_tensors
from sae_lens_classif.errors import UserError
from sae_lens_classif.features.same_model import check_model
from sae_lens_classif.hooks.token_states import TokenReader
from sae_lens_classif.methods.sae_probe import load_sae
from sae_lens_classif.saes.classif_sae import ClassifSAE

HIDDEN, UNTRAINED = "hidden:", "untrained:"  # before the name of a hook, and of an SAE whose weights are random
Floats: TypeAlias = npt.NDArray[np.float32]
Features: TypeAlias = "csr_array | Floats"
_NEURONPEDIA = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}/[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", re.ASCII)
_SCRATCH = 2**28  # bytes of dense activations at once


class FeatureSource(ABC):
    """Features of a token, given the residual stream at one hook.

    Attributes:
        name: How it was asked for.
        hook: The hook.
        width: Number of features F.
        is_sparse: Whether most features of a token are 0.
        fingerprint: SHA-256 of everything that the features depend on, the model aside.
        neuronpedia: What Neuronpedia calls the SAE; None where it has none.
    """

    name: str
    hook: str
    width: int
    is_sparse: bool
    fingerprint: str
    neuronpedia: str | None = None

    @abstractmethod
    def of_tokens(self, states: torch.Tensor) -> Features:
        """Features of tokens, float32 (T, F), given their states, float32 (T, d_model)."""


class HiddenSource(FeatureSource):
    """The hidden state itself, the baseline of all others."""

    is_sparse = False

    def __init__(self, hook: str, reader: TokenReader) -> None:
        """
        Args:
            hook: ``blocks.L.hook_resid_pre`` or ``blocks.L.hook_resid_post``.
            reader: The model.

        Raises:
            UserError: If there is no such hook.
        """
        reader.layer_of(hook)
        self.name, self.hook, self.width = f"{HIDDEN}{hook}", hook, reader.d_model
        self.fingerprint = sha256_of_json(hook)

    def of_tokens(self, states: torch.Tensor) -> Floats:
        """The states as they are."""
        values: Floats = states.cpu().numpy()
        return values


class SAESource(FeatureSource):
    """The latents of an SAE; of a ClassifSAE its concepts."""

    is_sparse = True

    def __init__(self, name: str, sae: SAE[Any], reader: TokenReader) -> None:
        """
        Args:
            name: How the SAE was asked for.
            sae: Any SAE of SAELens that reads the residual stream.
            reader: The model.

        Raises:
            UserError: If the SAE is of another width or hook than the model has, does not say its hook, or is of
                another model, as far as ``check_model`` can tell.
        """
        hook = sae.cfg.metadata.hook_name
        if not isinstance(hook, str):
            raise UserError(f"{name} does not say in its cfg.json (metadata.hook_name) which states it reads; add it")
        reader.layer_of(hook)
        if sae.cfg.d_in != reader.d_model:
            raise UserError(
                f"{name} is of another model than {reader.name}: it reads states {sae.cfg.d_in} wide at {hook} of "
                f"{sae.cfg.metadata.model_name}, here they are {reader.d_model} wide"
            )
        if not name.startswith(UNTRAINED):
            check_model(name, sae.cfg.metadata.model_name, reader)
        self.name, self.hook = name, hook
        self._sae = sae.to(reader.device)
        self.width = sae.cfg.n_concepts if isinstance(sae, ClassifSAE) else sae.cfg.d_sae
        weights = sha256_of_tensors(sae.state_dict())
        settings = {key: value for key, value in sae.cfg.to_dict().items() if key not in ("device", "metadata")}
        self.fingerprint = sha256_of_json([weights, settings, hook])
        self.neuronpedia = neuronpedia_id(sae.cfg.metadata.neuronpedia_id)

    @torch.no_grad()
    def of_tokens(self, states: torch.Tensor) -> csr_array:
        """Activations, some tokens at a time: a wide SAE's would not fit into memory for all."""
        at_once = max(1, _SCRATCH // (4 * self._sae.cfg.d_sae))
        parts = [self._sparse(part) for part in states.to(self._sae.dtype).split(at_once)]
        return stacked(parts, format="csr") if parts else csr_array((0, self.width), dtype=np.float32)

    def _sparse(self, states: torch.Tensor) -> csr_array:
        acts: torch.Tensor = self._sae.encode(states)
        acts = (acts if acts.layout == torch.strided else acts.to_dense())[:, : self.width]
        token, feature = acts.nonzero(as_tuple=True)
        ends = torch.bincount(token, minlength=len(states)).cumsum(0).cpu().numpy()
        parts = acts[token, feature].float().cpu().numpy(), feature.cpu().numpy(), np.concatenate([[0], ends])
        return csr_array(parts, shape=(len(states), self.width))


def neuronpedia_id(given: object) -> str | None:
    """What an SAE's metadata says Neuronpedia calls it, as ``gemma-2-2b/12-gemmascope-res-16k``; None for all else.

    It comes from whoever wrote the SAE's files, and becomes part of an address.
    """
    return given if isinstance(given, str) and _NEURONPEDIA.fullmatch(given) else None


def open_source(name: str, reader: TokenReader) -> FeatureSource:
    """Open what features are asked of.

    Args:
        name: ``hidden:HOOK``, a folder with an SAE, or ``RELEASE:SAE_ID``.
        reader: The model.

    Raises:
        UserError: If there is no such SAE or hook, or it is of another model.
    """
    if name.startswith(HIDDEN):
        return HiddenSource(name.removeprefix(HIDDEN), reader)
    return SAESource(name, load_sae(name), reader)
