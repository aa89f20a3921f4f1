"""What `auto` stands for: from the number of classes and the width of the hidden states."""

from dataclasses import fields

import pytest

from sae_lens_classif.config.run import RECIPES, Recipe, SAESettings, TrainConfig
from sae_lens_classif.errors import UserError


@pytest.mark.parametrize(
    ("n_classes", "d_in", "n_concepts", "d_sae"),
    [
        (2, 128, 20, 256),
        (4, 1024, 20, 2048),  # pythia-410m, as in the paper
        (4, 2048, 20, 4096),  # pythia-1b
        (2, 768, 20, 1536),  # bert-base
        (20, 128, 20, 256),
        (77, 128, 77, 256),
        (150, 128, 150, 300),
        (100, 16, 100, 200),
        (2, 8, 20, 40),
        (2, 1, 20, 40),
    ],
)
def test_sizes_follow_from_the_task(n_classes: int, d_in: int, n_concepts: int, d_sae: int) -> None:
    sized = SAESettings().sized(n_classes, d_in)
    assert (sized.n_concepts, sized.d_sae, sized.k, sized.k_concepts) == (n_concepts, d_sae, 10, 1)


@pytest.mark.parametrize("n_classes", range(2, 151))
def test_every_number_of_classes_has_sizes_that_go_together(n_classes: int) -> None:
    for recipe in ("robust", "reference"):
        sized = SAESettings(recipe=recipe).sized(n_classes, 64)
        assert "auto" not in [getattr(sized, entry.name) for entry in fields(sized)]
        assert sized.n_concepts == sized.concepts_for(n_classes)
        assert sized.sized(n_classes, 64) == sized


def test_what_is_given_stays() -> None:
    sized = SAESettings(n_concepts=5, d_sae=48, k=3, k_concepts=2, concept_init="random", model_coefficient=0.0)
    assert sized.sized(3, 16).n_concepts == 5
    assert (sized.sized(3, 16).d_sae, sized.sized(3, 16).k_concepts) == (48, 2)
    assert (sized.sized(3, 16).concept_init, sized.sized(3, 16).asks_model) == ("random", False)
    with pytest.raises(UserError, match=r"n_concepts is 77; it must be 1\.\.48"):
        SAESettings(d_sae=48).sized(77, 16)


def test_the_reference_is_the_paper_s_and_the_recipes_say_the_same_settings() -> None:
    reference = SAESettings(recipe="reference").sized(2, 16)
    assert (reference.k_concepts, reference.concept_init, reference.asks_model) == (0, "random", False)
    assert reference.balance_coefficient == 0
    assert RECIPES["robust"].keys() == RECIPES["reference"].keys()


def test_where_a_text_may_have_several_labels_it_may_have_several_concepts() -> None:
    assert SAESettings().sized(4, 64, multi_label=True).k_concepts == 3
    assert SAESettings(k=2).sized(4, 64, multi_label=True).k_concepts == 2
    assert SAESettings(k_concepts=1).sized(4, 64, multi_label=True).k_concepts == 1
    assert SAESettings(recipe="reference").sized(4, 64, multi_label=True).k_concepts == 0


@pytest.mark.parametrize(("n_concepts", "weight"), [(5, 0.1), (20, 0.1), (40, 0.05), (150, 2 / 150)])
def test_many_concepts_are_balanced_less(n_concepts: int, weight: float) -> None:
    """Of a batch of 500 texts each of 150 concepts has three: how often it is active is mostly chance."""
    assert SAESettings(n_concepts=n_concepts).sized(2, 256).balance_coefficient == pytest.approx(weight)
    assert SAESettings(n_concepts=n_concepts, balance_coefficient=0.1).sized(2, 256).balance_coefficient == 0.1
    assert SAESettings(n_concepts=n_concepts, recipe="reference").sized(2, 256).balance_coefficient == 0


@pytest.mark.parametrize(("total_samples", "lr"), [(10_000_000, 5e-5), (2_000_000, 2.5e-4), (10_000, 1e-3)])
def test_a_short_training_s_weights_may_go_as_far_as_a_long_one_s(total_samples: int, lr: float) -> None:
    train = TrainConfig(total_samples=total_samples)
    assert _rates(train) == pytest.approx((max(5e-5, lr / 2), lr)), "far, but near its start"
    assert _rates(train, n_concepts=5) == _rates(train)
    assert _rates(train, "reference") == (5e-5, 5e-5)
    assert _rates(train, n_concepts=40) == pytest.approx((max(5e-5, lr / 4), lr)), "few texts a concept in a batch"
    assert _rates(TrainConfig(encoder_lr=1e-4, decoder_lr=3e-4)) == (1e-4, 3e-4)
    assert _rates(TrainConfig(lr=3e-3)) == (3e-3, 3e-3)


def _rates(train: TrainConfig, recipe: Recipe = "robust", n_concepts: int = 20) -> tuple[float | str, float | str]:
    found = train.with_rates(recipe, n_concepts)
    assert found.with_rates(recipe, n_concepts) == found
    return found.encoder_lr, found.decoder_lr


@pytest.mark.parametrize(("width", "every"), [(1, 1), (256, 1), (257, 2), (4096, 2)])
def test_a_wide_model_is_run_on_in_fewer_steps(width: int, every: int) -> None:
    assert SAESettings().sized(4, width).model_every == every
    assert SAESettings(model_every=7).sized(4, width).model_every == 7
