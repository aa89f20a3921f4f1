"""What is noted in the ``cfg.json`` of a saved ClassifSAE so that loading can tell what is wrong with it."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from sae_lens.saes.sae import SAEConfig
from safetensors import SafetensorError

from sae_lens_classif._version import __version__
from sae_lens_classif.checksums import sha256_of_json, sha256_of_tensors
from sae_lens_classif.errors import UserError

FORMAT = 2  # of the files; one that this version cannot read has a higher number
NOTED = ("sae_lens_classif_version", "classifsae_format", "weights_sha256", "weights_dtype", "settings_sha256")
_SIGNED_SETTINGS = (
    "d_in", "d_sae", "n_classes", "multi_label", "n_concepts", "k", "k_concepts", "apply_b_dec_to_input",
    "normalize_activations", "reshape_activations", "rescale_acts_by_decoder_norm",
)  # fmt: skip
_SIGNED_METADATA = (
    *NOTED[1:-1], "model_name", "hook_name", "class_names", "context_size", "prepend_bos",
    "model_from_pretrained_kwargs",
)  # fmt: skip
_AGAIN = "save, copy or download it again"


def note_weights(cfg: SAEConfig, state_dict: Mapping[str, torch.Tensor]) -> None:
    """Note this package's version, the format and the checksums of weights and settings.

    Args:
        cfg: Goes into ``cfg.json``; its metadata get the notes.
        state_dict: The weights that are about to be written.
    """
    noted = (__version__, FORMAT, sha256_of_tensors(state_dict), _dtype_of(state_dict))
    for name, value in zip(NOTED, noted, strict=False):
        cfg.metadata[name] = value
    cfg.metadata[NOTED[-1]] = _sha256_of_settings(cfg)


def _sha256_of_settings(cfg: SAEConfig) -> str:
    """Of all that latents, reconstruction and what they are of depend on."""
    settings = {name: getattr(cfg, name, None) for name in _SIGNED_SETTINGS}
    return sha256_of_json([settings, {name: cfg.metadata[name] for name in _SIGNED_METADATA}])


def check_saved(cfg: SAEConfig, state_dict: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights and settings that are not those that were written.

    Args:
        cfg: From ``cfg.json``; where its metadata have no checksum, none is compared, and of weights that were brought
            to another precision while they were read neither.
        state_dict: The weights.
        expected: Weights of an SAE of that configuration; only their names and shapes count.

    Raises:
        UserError: If the format is newer than this version's, names or shapes do not fit the configuration, values
            are not finite, or something is not as it was written.
    """
    version, format_, noted, dtype, settings = (cfg.metadata[name] for name in NOTED)
    if isinstance(format_, int) and format_ > FORMAT:
        raise UserError(
            f"the SAE was saved in format {format_} by sae-lens-classif {version}; this is "
            f"{__version__} and reads up to {FORMAT}: pip install --upgrade sae-lens-classif"
        )
    for name in sorted(expected.keys() | state_dict.keys()):
        found, wanted = (_shape(tensors, name) for tensors in (state_dict, expected))
        if found != wanted:
            raise UserError(
                f"the SAE's weights hold {name} {found}, its cfg.json asks for {wanted}: one of the files was "
                f"changed or belongs to another SAE; {_AGAIN}"
            )
    for name, tensor in state_dict.items():
        if not tensor.isfinite().all():
            raise UserError(f"the SAE's {name} is not finite (NaN or infinity); {_AGAIN}")
    if settings and settings != _sha256_of_settings(cfg):
        raise UserError(
            "the settings in the SAE's cfg.json are not those that were written (SHA-256): the file was changed; "
            f"{_AGAIN}, or, where you mean the change, call sae_lens_classif.sign_sae on its folder"
        )
    if noted and dtype == _dtype_of(state_dict) and noted != sha256_of_tensors(state_dict):
        raise UserError(
            f"the SAE's weights are not those that its cfg.json was written with (SHA-256): the file was changed; "
            f"{_AGAIN}"
        )


@contextlib.contextmanager
def explain_loading(folder: Path) -> Iterator[None]:
    """Say what is wrong with a folder where SAELens, safetensors or Python's own errors do not."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error
    except FileNotFoundError as error:
        missing = Path(error.filename or str(error)).name
        raise UserError(
            f"{folder} holds no {missing}; expected a folder with cfg.json and sae_weights.safetensors"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{folder / 'cfg.json'} is not valid JSON ({error}); {_AGAIN}") from error
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / 'cfg.json'} is not that of an SAE ({type(error).__name__}: {error})") from error
    except SafetensorError as error:
        raise UserError(f"{folder / 'sae_weights.safetensors'} cannot be read ({error}); {_AGAIN}") from error


def _shape(tensors: Mapping[str, torch.Tensor], name: str) -> str:
    return f"of shape {tuple(tensors[name].shape)}" if name in tensors else "missing"


def _dtype_of(state_dict: Mapping[str, torch.Tensor]) -> str:
    return ", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in state_dict.values()}))
