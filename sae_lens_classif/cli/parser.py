"""The command line, ``sae-lens-classif STEP``: reads what is asked for and calls the step."""

import argparse
import contextlib
import difflib
import io
import logging
import os
import sys
import textwrap
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, get_origin

from typing_extensions import override

from sae_lens_classif._version import __version__
from sae_lens_classif.cli.completion import complete, is_asked
from sae_lens_classif.config.code import settings_of_run
from sae_lens_classif.config.methods import check_cells
from sae_lens_classif.config.presets import preset_file, preset_names
from sae_lens_classif.config.yaml import SECTIONS, SETTINGS, read_yaml, settings_parser, yaml_value
from sae_lens_classif.errors import UserError, fault_of_the_machine
from sae_lens_classif.hooks.backends import backend_names
from sae_lens_classif.methods.listing import titles
from sae_lens_classif.reading import check_characters, check_path, read_text
from sae_lens_classif.runs.folder import METHOD, RunFolder

_STEPS = {
    "finetune": "Bring a language model to the task: RUN/classifier.",
    "cache": "Store the hidden state of every text: RUN/activations.",
    "train": "Train the ClassifSAE: RUN/saes/classifsae.",
    "evaluate": "Measure the concepts on the test texts: RUN/evals, RUN/figures, RUN/summary.json. With --data OTHER "
    "(a folder, a name on the Hub, or a YAML file with the settings of data) on another data set's: RUN/transfer; with "
    "--method NAME by a method that `compare` fitted.",
    "run": "The four steps above; what is done is reused.",
    "compare": "Fit and measure other concept methods beside the ClassifSAE: RUN/comparison.{json,md,tex}.",
    "across": "Which method is ahead over several data sets: OUT/across.{json,md,tex}, OUT/tradeoffs.{png,svg}.",
    "sweep": "Train and evaluate over a grid of settings: RUN/sweep/sweep.{json,md,png,svg}.",
    "features": "Do features of an SAE classify texts, which, and better than what? RUN/features/study.{json,md,tex}, "
    "heatmap.{png,svg}, report.html. With --transfer: what is learned on one language, data set or model, and holds on "
    "another? RUN/features/transfer_*.{json,md,png,svg}.",
    "stability": "Train again with other seeds: which concepts come back? RUN/stability.json.",
    "diff": "Two runs, such as before and after a fine-tuning: which concepts are kept, gone, new, changed in effect? "
    "OTHER/diff.",
    "explain": "Why a text gets its class: the concepts active on it, what each does, which words drive it.",
    "name": "Give a concept a name, which is shown wherever the concept is.",
    "score": "A file of texts, each with its class, that through the concepts alone, and the concepts active on it.",
    "report": "One page about a run, for a browser: its concepts, how far to trust them, its mistakes.",
    "publish": "Put the concepts of a run on the Hugging Face Hub, with evaluations, figures and a model card.",
    "demo": "Everything on BBC news with a small model of its own, in a few minutes.",
}


_MAIN_SETTINGS = (
    "data.source",
    "data.text_column",
    "data.label_column",
    "data.max_train_texts",
    "classifier.model",
    "prompt.template",
    "finetune.base_model",
    "sae.n_concepts",
    "train.total_samples",
    "train.seed",
)
_MORE_MAIN_SETTINGS = {
    "compare": ("compare.methods", "compare.seeds"),
    "features": ("features.model", "features.saes", "features.poolings", "features.n_features"),
}
_LONGEST_ERROR = 2000  # characters
_OF_A_RUN = ("stability", "diff", "explain", "name", "score", "report", "publish")  # these take a finished run
_WITHOUT_SETTINGS = (*_OF_A_RUN, "across")
_WITHOUT_CODE = ("name", "publish", "across")  # these run neither the model nor the fit of a method


class _Parser(argparse.ArgumentParser):
    """Leaves errors to be told by who called; its help goes on with the settings, where the command takes them."""

    takes_settings = False
    shows_all = False

    @override
    def error(self, message: str) -> NoReturn:
        raise UserError(message)

    @override
    def format_help(self) -> str:
        if not self.takes_settings:
            return super().format_help()
        return super().format_help() + (_settings_help() if self.shows_all else _main_settings_help(self.prog))

    def valid_options(self) -> list[str]:
        """Names of what can follow two dashes."""
        options = [option.removeprefix("--") for option in self._option_string_actions if option.startswith("--")]
        return [*SETTINGS, *options] if self.takes_settings else options


class _HelpAll(argparse.Action):
    """Prints the help with every setting."""

    @override
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        if isinstance(parser, _Parser):
            parser.shows_all = True
        parser.print_help()
        parser.exit()


def _main_settings_help(prog: str) -> str:
    """The settings that matter most for a command, and how to see all."""
    known = _described_settings()._option_string_actions
    lines = []
    for name in (*_MAIN_SETTINGS, *_MORE_MAIN_SETTINGS.get(prog.split()[-1], ())):
        about = " ".join(str(known[f"--{name}"].help).split()).replace("``", "")
        lines += [f"  --{name}", *textwrap.wrap(about, 76, initial_indent=" " * 6, subsequent_indent=" " * 6)]
    head = "The settings that matter most (on the command line, or in a YAML file by section):"
    return "\n".join(["", head, "", *lines, "", f"All settings: {prog} --help-all", ""])


def _settings_help() -> str:
    return f"\n{_described_settings().format_help()}"


def _described_settings() -> argparse.ArgumentParser:
    """The parser of all settings, whose help names the backends and methods that there are."""
    parser = settings_parser()
    methods = [f"{name} ({title})" for name, title in titles().items()]
    for setting, there_are in (("classifier.backend", backend_names()), ("compare.methods", methods)):
        option = parser._option_string_actions[f"--{setting}"]
        option.help = f"{option.help} There are: {', '.join(there_are)}."
    return parser


def _path(word: str) -> Path:
    try:
        check_path(word)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(word)


def _build_parser() -> _Parser:
    """Parser of all commands, without the settings of the steps: these are for whoever parses what it leaves."""
    parser = _Parser(allow_abbrev=False, prog="sae-lens-classif", description="Which concepts does a classifier use?")
    parser.add_argument("--version", action="version", version=f"sae-lens-classif {__version__}")
    commands = parser.add_subparsers(required=True)
    for step, purpose in _STEPS.items():
        command = commands.add_parser(step, allow_abbrev=False, help=purpose, description=purpose)
        command.set_defaults(step=step, command=command)
        if step in _OF_A_RUN:
            command.add_argument("run", metavar="RUN", type=_path, help="The run folder, trained and evaluated.")
        elif step not in _WITHOUT_SETTINGS:
            _add_step_options(command, step)
        if step not in _WITHOUT_CODE:
            command.add_argument(
                "--allow-code", metavar="NAME", action="append", default=[], help="Code that the run folder's settings "
                "may name, module:function or module:Class; it is run. Else only what is named here is."
            )  # fmt: skip
        command.add_argument("--debug", action="store_true", help="Show the traceback of an error.")
    add = {step: command.add_argument for step, command in commands.choices.items()}
    add["demo"]("--encoder", action="store_true", help="With MiniLM, a BERT, instead of a decoder: runs/demo-encoder.")
    add["evaluate"]("--data", metavar="OTHER", help="Another data set, on which to measure the run's concepts.")
    for step in ("evaluate", *_OF_A_RUN):
        add[step]("--method", metavar="NAME", default=METHOD, help="Whose concepts: a method that `compare` fitted.")
    add["features"](
        "--transfer", metavar="WHAT", help="languages (features.language_column), data (features.data_sets) or models "
        "(features.decisions_of): train on one, test on each."
    )  # fmt: skip
    add["sweep"]("--grid", metavar="SETTING=V,V", action="append", help="A setting and its values; can be repeated.")
    add["across"]("runs", metavar="RUN", type=_path, nargs="+", help="Run folders with a comparison, one a data set.")
    add["across"]("--out", metavar="OUT", type=_path, default=Path("runs/across"), help="Default: runs/across.")
    add["across"]("--against", metavar="NAME", default=METHOD, help="The method that the others are held against.")
    add["stability"](
        "--seeds", metavar="N", type=int, default=5, help="How many trainings, the run's own the first. Default: 5."
    )
    add["stability"]("--overwrite", action="store_true", help="Make trainings of other settings or texts anew.")
    add["diff"]("other", metavar="OTHER", type=_path, help="The run folder it is held against, such as the later one.")
    add["explain"]("texts", metavar="TEXT", nargs="+", help="The text, in quotes, or several, each in quotes.")
    add["explain"]("--html", metavar="FILE", type=_path, help="Write what is shown as a page, too.")
    add["name"]("concept", metavar="N", type=int, help="Number of the concept.")
    add["name"]("name", metavar="NAME", help="Its name, in quotes; empty to take it back.")
    add["score"]("file", metavar="FILE", help="JSON lines, CSV or parquet; - for standard input, a text a line.")
    add["score"](
        "--out", metavar="FILE", type=_path, help="JSON lines, CSV or parquet. Default: JSON lines to standard output."
    )
    add["score"]("--text_column", metavar="NAME", default="text", help="Column of the texts. Default: text.")
    add["report"](
        "--out", metavar="FILE", type=_path, help="Where to write it. Default: RUN/report.html, RUN/report.NAME.html."
    )
    add["report"]("--explained", metavar="N", type=int, default=40, help="Texts whose class is explained word by word.")
    add["report"](
        "--by", metavar="COLUMN", action="append", default=[], help="Tell apart texts by a column of the data, as lang."
    )
    add["report"]("--mask", action="store_true", help="Mask handles (@name) and addresses on the web in the texts.")
    add["report"]("--note", metavar="WORDS", default="", help="What a reader should know first: 'offensive texts'.")
    add["publish"]("repo", metavar="REPO", help="owner/name on the Hub; made if it does not exist.")
    add["publish"]("--dry-run", action="store_true", help="Only write RUN/hub: what would be uploaded.")
    add["publish"]("--license", metavar="ID", help="Licence of what is published, such as apache-2.0.")
    add["publish"]("--private", action="store_true", help="Only the owners of the repository see it.")
    add["publish"]("--with-texts", action="store_true", help="Publish the texts that activate each concept most, too.")
    return parser


def _with_settings(parser: _Parser) -> _Parser:
    """The same with an option for every setting, which says nothing of its value: for what completes names."""
    commands = next(action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for command in commands.values():
        for setting in SETTINGS if command.takes_settings else ():
            command.add_argument(f"--{setting}")
    return parser


def _add_step_options(command: _Parser, step: str) -> None:
    command.takes_settings = True
    command.add_argument("--help-all", action=_HelpAll, nargs=0, help="Show the help with every setting, and exit.")
    command.set_defaults(grid=None, data=None, encoder=False, method=METHOD, transfer=None)
    command.usage = f"sae-lens-classif {step} [--run FOLDER] [options]"
    command.add_argument(
        "--run", metavar="FOLDER", type=_path, help="The run folder. Default: runs/<preset>, or runs/run."
    )
    command.add_argument("--preset", help=f"Settings to begin with, several with commas: {', '.join(preset_names())}.")
    command.add_argument(
        "--config",
        metavar="FILE",
        type=_path,
        action="append",
        default=[],
        help="A YAML file with settings; can be repeated.",
    )
    command.add_argument(
        "--overwrite", action="store_true", help="Delete what was made with other settings or texts, and make it anew."
    )


def _asked_for(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The command with its own options, and the words that set settings.

    Raises:
        UserError: If there is no such command or option.
    """
    asked, settings = _build_parser().parse_known_args(arguments)
    valid = asked.command.valid_options()
    for word in settings:
        name = word.removeprefix("--").partition("=")[0]
        # A section's own name reads it from a file; with a space in it, a word is a value.
        setting = ".".join(name.split(".")[:2])
        is_inside = setting in valid and get_origin(SETTINGS.get(setting)) is dict
        if not word.startswith("--") or name in (*valid, *SECTIONS) or is_inside or " " in name:
            continue
        if name == "run":
            raise UserError(f"`{asked.step}` takes the run folder without --run: sae-lens-classif {asked.step} RUN ...")
        close = difflib.get_close_matches(name, valid, n=1, cutoff=0.0)
        raise UserError(
            f"there is no setting {name!r}; did you mean {close[0]!r}? "
            f"`sae-lens-classif {asked.step} --help{'-all' if asked.command.takes_settings else ''}` lists them all"
        )
    if settings and asked.step in _WITHOUT_SETTINGS:
        raise UserError(f"`{asked.step}` does not take {' '.join(settings)!r}; a text of several words needs quotes")
    return asked, settings


def parse(arguments: Sequence[str]) -> RunFolder:
    """The run that the command line of a step asks for.

    Settings come, each over the ones before, from the defaults, the run folder's own ``config.yaml``, the presets,
    the ``--config`` files and the options.

    Raises:
        UserError: If an option, a setting or a preset does not exist, or a value cannot be.
        SystemExit: With code 0 for ``--help``.
    """
    return _run(*_asked_for(arguments))


def _presets(asked: argparse.Namespace) -> list[str]:
    demo = f"demo{'-encoder' if asked.encoder else ''}" if asked.step == "demo" else ""
    return [name for name in (demo, *(asked.preset or "").split(",")) if name]


def _folder(asked: argparse.Namespace) -> Path:
    return Path(asked.run or f"runs/{'-'.join(_presets(asked)) or 'run'}")


def _noted(asked: argparse.Namespace) -> str | None:
    """The settings that the run folder holds, as they are written; None where there are none to be read."""
    try:
        return read_text(_folder(asked) / "config.yaml")
    except UserError:  # told by whoever reads what they say
        return None


def _run(asked: argparse.Namespace, options: Sequence[str]) -> RunFolder:
    folder = _folder(asked)
    layers = [(str(file), read_yaml(file)) for file in (*map(preset_file, _presets(asked)), *asked.config)]
    if asked.grid:
        layers.append(("--grid", {"sweep": {"grid": parse_grid(asked.grid)}}))
    cfg, code = settings_of_run(folder, *layers, options=options)
    if asked.data is None and asked.method != METHOD:
        raise UserError("--method goes with --data; the methods that `compare` fitted are measured by it already")
    return RunFolder(folder, cfg, asked.overwrite, allow_code=code.union(asked.allow_code))


def parse_grid(entries: Sequence[str]) -> dict[str, list[Any]]:
    """``["sae.gamma=0.05,0.1"]`` as ``{"sae.gamma": [0.05, 0.1]}``."""
    grid: dict[str, list[Any]] = {}
    for entry in entries:
        name, _, values = entry.partition("=")
        name = name.strip()
        if not (name and values):
            raise UserError(f"--grid is {entry!r}; write a setting and its values, as --grid sae.gamma=0.05,0.1")
        if name in grid:
            raise UserError(f"--grid names {name} twice; give all its values at once, as {name}=1,2")
        check_cells({name: values.split(",")})
        read = yaml_value(f"[{values}]")
        # A text that is no YAML is split at its commas.
        grid[name] = read if isinstance(read, list) else [yaml_value(value) for value in values.split(",")]
    return grid


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; exits with 0, with 2 for the user's mistake, with 1 for ours.

    Args:
        arguments: Default: those of the process.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # not every terminal can show every letter
    try:
        if sys.stdout is None:
            raise UserError("standard output is closed; leave it open, or send it to /dev/null")
        _execute(arguments or ["--help"])
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_standard_output()  # whoever reads it has enough, as `head` has
    except KeyboardInterrupt:
        print("stopped; the same command goes on with what is done", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        told = str(error) if isinstance(error, UserError) else fault_of_the_machine(error)
        if isinstance(error, OSError):
            _forget_standard_output()
        if told is not None:
            print(f"error: {_in_one_line(told)}", file=sys.stderr)
            sys.exit(2)
        ours = f"{type(error).__name__}: {error} (--debug shows where)"
        print(f"error of sae-lens-classif itself: {ours}", file=sys.stderr)
        sys.exit(1)


def _forget_standard_output() -> None:
    """Keep Python from writing what is left of it once more as it ends, which would fail again."""
    with contextlib.suppress(OSError, AttributeError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _in_one_line(words: str) -> str:
    """Words of an error, without what a terminal takes for a command, and what no one would read."""
    line = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in " ".join(words.split()))
    return line if len(line) <= _LONGEST_ERROR else f"{line[: _LONGEST_ERROR - 200]} … {line[-200:]}"


def _execute(arguments: Sequence[str]) -> None:
    if is_asked():
        complete(_with_settings(_build_parser()))
    for word in arguments:
        check_characters(word)
    asked, settings = _asked_for(arguments)
    noted = None if asked.step in _WITHOUT_SETTINGS else _noted(asked)
    run = None if asked.step in _WITHOUT_SETTINGS else _run(asked, settings)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from rich.console import Console

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("sae_lens_classif").setLevel(logging.INFO)
    with Console(stderr=True).status("Starting"):  # which shows where there is a terminal
        from sae_lens_classif.cli.commands import COMMANDS, WITHOUT_SETTINGS, transfer, transfer_features

    if run is None:
        given = {name: value for name, value in vars(asked).items() if name not in ("step", "command", "debug")}
        WITHOUT_SETTINGS[asked.step](**given)
        return
    from sae_lens_classif.runs.lock import only_writer

    with only_writer(run.folder, asked.step):
        if _noted(asked) != noted:  # whoever wrote there before has noted other settings
            run = _run(asked, settings)
        run.claim()
        if asked.data is not None:
            transfer(run, asked.data, asked.method)
        elif asked.transfer is not None:
            transfer_features(run, asked.transfer)
        else:
            COMMANDS[asked.step](run)
