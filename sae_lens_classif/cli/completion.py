"""What TAB offers in a shell, by argcomplete: commands, options, settings, and the words that a value may be."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, get_args, get_origin

from sae_lens_classif.config.presets import preset_names
from sae_lens_classif.config.run import evaluation_names
from sae_lens_classif.config.yaml import SETTINGS
from sae_lens_classif.hooks.backends import backend_names
from sae_lens_classif.methods.listing import titles

# What no type says: the words of an option or a setting, by its name.
_WORDS: dict[str, Callable[[], Iterable[str]]] = {
    "against": titles,
    "classifier.backend": backend_names,
    "compare.methods": titles,
    "evaluate.evals": evaluation_names,
    "grid": lambda: [f"{setting}=" for setting in SETTINGS],
    "method": titles,
    "preset": preset_names,
}
_LISTS = ("compare.methods", "evaluate.evals", "preset")  # several words with commas
_FOLDERS = ("other", "run", "runs")


def is_asked() -> bool:
    """Whether it is a shell that asks what could come next."""
    return "_ARGCOMPLETE" in os.environ


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell, and exit.

    Args:
        parser: Of all commands, with every setting as an option. Whatever has no words of its own is a file.
    """
    try:
        from argcomplete import autocomplete
        from argcomplete.completers import DirectoriesCompleter
    except ImportError:
        sys.exit(1)  # a shell that learned it elsewhere waits for words, not for a command to run
    for action in _actions(parser):
        if action.dest in _FOLDERS:
            vars(action)["completer"] = DirectoriesCompleter()
        elif words := _WORDS.get(action.dest) or _words_of_type(SETTINGS.get(action.dest)):
            vars(action)["completer"] = _completer(words, in_list=action.dest in _LISTS)
    autocomplete(parser, always_complete_options=False)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)


def _words_of_type(kind: Any) -> Callable[[], Iterable[str]] | None:
    """The words that a value of a type may be, if there are any: of ``int | Literal["auto"]`` one."""
    words = [str(word) for one in (kind, *get_args(kind)) if get_origin(one) is Literal for word in get_args(one)]
    words += ["true", "false"] if kind is bool else []
    return (lambda: words) if words else None


def _completer(words: Callable[[], Iterable[str]], in_list: bool) -> Callable[..., list[str]]:
    def completer(prefix: str, **__: Any) -> list[str]:
        before, comma, _ = prefix.rpartition(",") if in_list else ("", "", "")
        return [f"{before}{comma}{word}" for word in words()]

    return completer
