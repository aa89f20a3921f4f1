"""A control: directions that nobody learned."""

from dataclasses import dataclass
from typing import Self

import torch
from typing_extensions import override

from sae_lens_classif.methods.base import ConceptMethod, FitTask


@dataclass
class RandomDirections(
    ConceptMethod, name="random_directions", title="Random directions", settings=None, trains_sae=False
):
    """Random unit vectors; a concept is active where a centred hidden state points its way.

    Attributes:
        vectors: float32 (n, d_in), of norm 1.
        mean: float32 (d_in,), mean of the training states.
    """

    vectors: torch.Tensor
    mean: torch.Tensor

    @override
    @classmethod
    def fit(cls, task: FitTask) -> Self:
        generator = torch.Generator().manual_seed(task.seed)
        vectors = torch.randn(task.n_concepts, task.store.d_in, generator=generator)
        return cls(torch.nn.functional.normalize(vectors, dim=-1), task.hidden.mean(dim=0))

    @override
    def encode(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.relu((hidden - self.mean) @ self.vectors.T)

    @override
    def decode(self, concepts: torch.Tensor) -> torch.Tensor:
        return concepts @ self.vectors + self.mean

    @override
    def directions(self) -> torch.Tensor:
        return self.vectors
