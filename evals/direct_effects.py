"""What a concept's direction by itself does to the class logits, before anything is ablated."""

import torch

from sae_lens_classif.hooks.classifier import TextClassifier

_N_STATES = 64


def direct_effects(classifier: TextClassifier, hidden: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """Slope of each class logit along each concept's direction, mean over some texts.

    The hidden state, alone, is moved a little along the direction of norm 1: how fast does each logit rise? Where a
    text has one class, what all logits have in common moves no probability, and is taken away.

    Args:
        classifier: The model.
        hidden: float (N, d_in), hidden states; 64 of them, evenly spread, are used.
        directions: float (n, d_in), directions of the concepts.

    Returns:
        float32 (n, C).
    """
    kept = hidden[torch.linspace(0, len(hidden) - 1, min(len(hidden), _N_STATES)).long()].float()
    with torch.enable_grad():
        states = kept.clone().requires_grad_()
        logits = classifier.logits_from(states)
        slopes = [
            torch.autograd.grad(logits[:, number].sum(), states, retain_graph=True)[0].mean(dim=0)
            for number in range(logits.shape[1])
        ]
    along = torch.nn.functional.normalize(directions.float(), dim=1) @ torch.stack(slopes, dim=1).cpu().float()
    return along if classifier.multi_label else along - along.mean(dim=1, keepdim=True)
