"""Is an SAE of the model that is read? What its settings name, held against what is known of both."""

import functools
import logging
import re
from pathlib import Path

from transformer_lens.loading_from_pretrained import make_model_alias_map
from transformer_lens.tools.model_registry.api import get_supported_models
from transformers import AutoConfig

from sae_lens_classif.errors import UserError
from sae_lens_classif.hooks.huggingface import architecture_of, config_of_model
from sae_lens_classif.hooks.token_states import TokenReader

logger = logging.getLogger(__name__)
_KIND = re.compile(r"(.+?)(?:For[A-Z]\w*|LMHeadModel|DoubleHeadsModel|Model)")
_IN_CACHE = re.compile(r"models--([^/\\]+)--([^/\\]+)[/\\]snapshots")  # where the Hub's cache has a model
_REMEDY = (
    "give an SAE of this model; where it is one all the same, save it with metadata.model_name set to how the model is "
    "called here"
)


def check_model(sae: str, named: object, reader: TokenReader) -> None:
    """Refuse an SAE of another model, as far as that can be known; else say where the names differ.

    A model has many names: an alias, another owner's copy, the folder it lies in; SAEs are used on tuned and instructed
    copies of their model; a run's own classifier is called by a folder that may have been moved. So a name alone
    refuses nothing. An SAE is refused where its settings name a model that TransformerLens or this machine knows, and
    that one

    - is of another architecture (GPT-2, GPT-NeoX ...) than the one that is read, or
    - has fewer blocks, or more, where the model that is read is itself one that TransformerLens knows by its name: an
      unknown model with fewer blocks may be the first blocks of the named one, whose states are the same.

    Of an architecture that was rewritten as another one (``llamafied``) the message says how it is read all the same.
    Names that are the same without their owner or folder, or by TransformerLens' aliases, are not looked at further.

    Args:
        sae: How the SAE was asked for.
        named: What its metadata call its model (``model_name``), if anything.
        reader: The model.

    Raises:
        UserError: If it is of another model, naming both.
    """
    if not isinstance(named, str) or not named or _short(named) == _short(reader.name):
        return
    reason = _other_architecture(named, reader) or _other_depth(named, reader)
    if reason is not None:
        raise UserError(f"{sae} is of another model than {reader.name}: it is of {named}, {reason}; {_REMEDY}")
    logger.warning("%s says that it is of %s, and %s is read: see that it is that model, or one tuned from it",
                   sae, named, reader.name)  # fmt: skip


def _short(name: str) -> str:
    """A model's name without owner or folder, by its official name where it has one."""
    cached = _IN_CACHE.search(name)
    known = "/".join(cached.groups()) if cached is not None else name
    return Path(_official(known) or known).name.lower()


@functools.cache
def _official(name: str) -> str | None:
    """What TransformerLens calls a model of this name or alias; None of one that it does not know."""
    return make_model_alias_map().get(name.lower())


def _other_architecture(named: str, reader: TokenReader) -> str | None:
    own, other = (None if one is None else _kind(one) for one in (architecture_of(reader.name), _architecture(named)))
    return None if own is None or other is None or own == other else f"a {other}, and this is a {own}"


def _other_depth(named: str, reader: TokenReader) -> str | None:
    n_layers = _n_layers(named)
    if n_layers is None or n_layers == reader.n_layers or (reader.n_layers < n_layers and not _official(reader.name)):
        return None
    return f"which has {n_layers} blocks, and this has {reader.n_layers}"


def _kind(architecture: str) -> str:
    """``GPTNeoX`` of ``GPTNeoXForCausalLM`` and of any other head on it."""
    match = _KIND.fullmatch(architecture)
    return architecture if match is None else match[1]


def _architecture(named: str) -> str | None:
    """What kind of model a name stands for; None where that is not known for sure."""
    if _is_folder(named):
        return architecture_of(named)
    known = _official(named) or (named if "/" in named else "")  # anybody may call a model of theirs "model"
    found = _architectures().get(known.lower(), set())
    return next(iter(found)) if len(found) == 1 else None


@functools.cache
def _architectures() -> dict[str, set[str]]:
    """Architectures of the models that TransformerLens lists, by their names with and without owner."""
    found = dict[str, set[str]]()
    for entry in get_supported_models():
        for name in (entry.model_id, entry.model_id.rpartition("/")[2]):
            found.setdefault(name.lower(), set()).add(entry.architecture_id)
    return found


def _n_layers(named: str) -> int | None:
    """How many blocks the model has that a name stands for; None where that is not known."""
    official = named if _is_folder(named) else _official(named)
    content = config_of_model(official) if official is not None else {}
    try:
        config = AutoConfig.for_model(**content).get_text_config()
        return int(config.num_hidden_layers)
    except Exception:  # of all kinds where it says something else
        return None


def _is_folder(named: str) -> bool:
    return Path(named).is_absolute() and (Path(named) / "config.json").is_file()
