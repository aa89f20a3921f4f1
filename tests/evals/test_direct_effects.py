"""The slope of class logits along a direction, held against moving the state a little."""

import pytest
import torch

import sae_lens_classif as slc
from sae_lens_classif.evals.direct_effects import direct_effects


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_slope_is_what_a_small_step_does(multi_label: bool) -> None:
    torch.manual_seed(0)
    first, second = torch.randn(6, 16), torch.randn(16, 3)

    def head(hidden: torch.Tensor) -> torch.Tensor:
        return torch.tanh(hidden @ first) @ second

    classifier = slc.classifier_from(lambda texts: torch.zeros(len(texts), 6), head, ("a", "b", "c"))
    classifier.multi_label = multi_label
    hidden, directions = torch.randn(10, 6), torch.randn(4, 6)
    found = direct_effects(classifier, hidden, directions)
    unit, step = torch.nn.functional.normalize(directions, dim=1).double(), 1e-4
    first, second, hidden = first.double(), second.double(), hidden.double()
    moved = [head(hidden + step * way) - head(hidden - step * way) for way in unit]
    slopes = torch.stack([logits.mean(dim=0) for logits in moved]) / (2 * step)
    expected = slopes if multi_label else slopes - slopes.mean(dim=1, keepdim=True)
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-3)
