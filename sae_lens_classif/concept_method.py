"""What the evaluations know of a concept method: hidden states to concepts, and back."""

from typing import Protocol

import torch

from sae_lens_classif.sae import ClassifSAE


class ConceptMethod(Protocol):
    """Anything that finds concepts in hidden states.

    Attributes:
        name: Name of the method.
        n_concepts: Number of concepts n.
    """

    name: str
    n_concepts: int

    def encode(self, hidden: torch.Tensor) -> torch.Tensor:
        """Activations of the concepts, float (B, n), of hidden states, float (B, d_in)."""
        ...

    def decode(self, concepts: torch.Tensor) -> torch.Tensor:
        """Hidden states, float (B, d_in), that concepts, float (B, n), alone stand for; their scale is free."""
        ...


class ClassifSAEConcepts:
    """The concepts of a ``ClassifSAE``: its first latents.

    Attributes:
        name: ``classifsae``.
        n_concepts: Number of concepts n.
    """

    name = "classifsae"

    def __init__(self, sae: ClassifSAE) -> None:
        """
        Args:
            sae: A trained ClassifSAE.
        """
        self._sae = sae
        self.n_concepts = sae.cfg.n_concepts

    def encode(self, hidden: torch.Tensor) -> torch.Tensor:
        """See ``ConceptMethod``. The top k are taken among all latents, not among the concepts."""
        return self._sae.encode(hidden.to(self._sae.device))[..., : self.n_concepts].cpu()

    def decode(self, concepts: torch.Tensor) -> torch.Tensor:
        """See ``ConceptMethod``."""
        return self._sae.decode_concepts(concepts.to(self._sae.device)).cpu()
