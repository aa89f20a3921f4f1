"""Baselines of features: as sparse as what they stand beside, and no more telling than chance."""

import numpy as np
import torch
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig, TopKSAE, TopKSAEConfig
from scipy.sparse import csr_array

from sae_lens_classif.features.baselines import random_like, untrained
from sae_lens_classif.features.classifiers import ClassifierSettings, fit_classifier


def test_random_features_are_as_many_of_each_text_with_its_values() -> None:
    random = np.random.default_rng(0)
    rows = csr_array((random.random((50, 30)) * (random.random((50, 30)) < 0.2)).astype(np.float32))
    found, again, other = random_like(rows, 0), random_like(rows, 0), random_like(rows, 1)
    assert np.array_equal(np.diff(found.indptr), np.diff(rows.indptr)) and found.dtype == np.float32
    for row in range(50):
        own, drawn = (sorted(one[[row]].data.tolist()) for one in (rows, found))
        assert own == drawn and len(set(found[[row]].indices)) == len(drawn)
    assert (found != again).nnz == 0 and (found != other).nnz > 0
    assert random_like(csr_array((2, 3), dtype=np.float32), 0).nnz == 0


def test_random_features_tell_nothing_of_the_classes() -> None:
    labels = np.arange(200) % 2
    telling = np.zeros((200, 40), np.float32)
    telling[np.arange(200), np.random.default_rng(0).integers(0, 20, 200) + 20 * labels] = 1
    settings = ClassifierSettings("prototype")
    assert fit_classifier(csr_array(telling), labels, settings).macro_f1 > 0.95
    assert fit_classifier(random_like(csr_array(telling), 0), labels, settings).macro_f1 < 0.65


def test_an_untrained_sae_is_of_the_same_kind_and_as_sparse() -> None:
    sae = TopKSAE(TopKSAEConfig(d_in=16, d_sae=64, k=5, dtype="float32", device="cpu"))
    before = {name: value.clone() for name, value in sae.state_dict().items()}
    new, again = untrained(sae, 0), untrained(sae, 0)
    states = torch.randn(20, 16)
    assert ((new.encode(states) > 0).sum(dim=1) == 5).all()
    assert torch.equal(new.W_enc, again.W_enc) and not torch.equal(new.W_enc, untrained(sae, 1).W_enc)
    torch.testing.assert_close(new.W_enc.norm(dim=0), torch.ones(64))
    assert all(torch.equal(value, before[name]) for name, value in sae.state_dict().items())
    jump = untrained(JumpReLUSAE(JumpReLUSAEConfig(d_in=16, d_sae=64, dtype="float32", device="cpu")), 0)
    assert 0.3 < (jump.encode(states) > 0).float().mean() < 0.7
