"""What a run is about, in a few words."""

from collections.abc import Callable

from sae_lens_classif.config.run import RunConfig


def model_in_words(cfg: RunConfig, named: Callable[[str], str]) -> str:
    """Say what the classifier is.

    Args:
        cfg: Settings of the run.
        named: How the ``model`` or the ``base_model`` is called.
    """
    if cfg.classifier.model is not None:
        return named("model")
    finetune = cfg.finetune
    if finetune.base_model == "scratch":
        return f"a GPT-NeoX of {finetune.n_layers} layers × {finetune.d_model}, trained for this task"
    return f"{named('base_model')}, fine-tuned for this task"
