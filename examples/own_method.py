"""A concept method of your own; on the command line ``compare --compare.methods ica,own_method:KMeansConcepts``."""

from dataclasses import dataclass
from typing import Self

import torch
from sklearn.cluster import KMeans

import sae_lens_classif as slc


@dataclass
class KMeansConcepts(slc.ConceptMethod, name="kmeans"):
    """A concept is a cluster of hidden states; it is active on the texts that are nearest to its centre."""

    centres: torch.Tensor

    @classmethod
    def fit(cls, task: slc.FitTask) -> Self:
        kmeans = KMeans(task.n_concepts, n_init=3, random_state=task.seed).fit(task.hidden.numpy())
        return cls(torch.from_numpy(kmeans.cluster_centers_))

    def encode(self, hidden: torch.Tensor) -> torch.Tensor:
        nearest = torch.cdist(hidden, self.centres).argmin(dim=1)
        return torch.nn.functional.one_hot(nearest, len(self.centres)).float()

    def decode(self, concepts: torch.Tensor) -> torch.Tensor:
        return concepts @ self.centres


if __name__ == "__main__":
    cfg, classifier = slc.load_config("runs/demo/config.yaml"), slc.load_classifier("runs/demo/classifier")
    states, test_states = (slc.ActivationStore(f"runs/demo/activations/{split}") for split in ("train", "test"))
    method = KMeansConcepts.fit(slc.FitTask(states, classifier, n_concepts=20))
    method.save("my_kmeans")  # slc.load_method("my_kmeans") reads it again
    result = slc.evaluate(method, classifier, test_states, slc.load_text_data(cfg.data, "test"))
    print(f"RAcc {result.metrics['recovery_accuracy']:.1%}, TVD {result.metrics['conditional_tvd']:.1%}")
