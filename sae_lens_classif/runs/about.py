"""What a run is about, for strangers: its model in words, its settings without the folders of this machine."""

from collections.abc import Callable
from pathlib import Path, PureWindowsPath

from sae_lens_classif.config.run import RunConfig
from sae_lens_classif.config.yaml import write_settings
from sae_lens_classif.hub import hub_name
from sae_lens_classif.runs.folder import to_plain

_PLACES = {"data": ("source", "train", "test"), "classifier": ("model",), "finetune": ("base_model",),
           "evaluate": ("sentence_encoder",)}  # fmt: skip


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


def shown_settings(cfg: RunConfig) -> str:
    """All settings as YAML; of a local folder the last part of its path is left.

    Args:
        cfg: Settings of the run.
    """
    settings = to_plain(cfg)
    del settings["evaluate"]["evals"]  # which to run is a matter of one command
    for section, names in _PLACES.items():
        for name in names:
            settings[section][name] = _place(settings[section][name])
    settings["compare"]["methods"] = [_guest(name) for name in settings["compare"]["methods"]]
    for of_method in settings["compare"]["settings"].values():
        of_method.update({name: _place(value) for name, value in of_method.items() if isinstance(value, str)})
    return write_settings(settings)


def _place(value: str | None) -> str | None:
    """A name without folders, or one of the Hub, as it is."""
    if value is None or hub_name(value.partition(":")[0]) or not set(value) & set("/\\~"):
        return value
    return f"…/{last_part(value)}"


def _guest(name: str) -> str:
    return f"sae:{_place(name.removeprefix('sae:'))}" if name.startswith("sae:") else name


def last_part(path: str) -> str:
    """Name of a folder or file, wherever it lies; it need not exist.

    Args:
        path: As it was given, such as ``.``.
    """
    name = PureWindowsPath(path).name
    return name if name not in ("", "..") else Path(path).resolve().name
