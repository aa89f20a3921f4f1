"""The command line, ``sae-lens-classif STEP``: reads what is asked for and calls the step."""

import difflib
import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace  # type: ignore[attr-defined]  # not in __all__
from typing_extensions import override

from sae_lens_classif.cli.arguments import parse_grid, settings_of, take, value_of, with_brackets
from sae_lens_classif.config.run import RunConfig
from sae_lens_classif.config.yaml import read_settings, section_of, write_settings_in_line
from sae_lens_classif.errors import UserError, nearest
from sae_lens_classif.hooks.backends import backend_names
from sae_lens_classif.methods.listing import titles

PRESETS = Path(__file__).parents[1] / "presets"
_METHOD = "classifsae"
_OPTIONS = ("run", "preset", "config", "overwrite", "debug")
_STEPS = {
    "finetune": "Bring a language model to the task: RUN/classifier.",
    "cache": "Store the hidden state of every text: RUN/activations.",
    "train": "Train the ClassifSAE: RUN/saes/classifsae.",
    "evaluate": "Measure the concepts on the test texts: RUN/evals, RUN/figures, RUN/summary.json. With --data OTHER "
    "(a folder, a name on the Hub, or a YAML file with the settings of data) on another data set's: RUN/transfer; with "
    "--method NAME by a method that `compare` fitted.",
    "run": "The four steps above; what is done is reused.",
    "compare": "Fit and measure other concept methods beside the ClassifSAE: RUN/comparison.{json,md,tex}.",
    "sweep": "Train and evaluate over a grid of settings: RUN/sweep/sweep.{json,md,png,svg}.",
    "explain": "Why one text gets its class: the concepts active on it, what each does, which words drive it.",
    "report": "One page about a run, for a browser: its concepts, how far to trust them, its mistakes.",
    "publish": "Put the ClassifSAE of a run on the Hugging Face Hub, with its evaluations, figures and a model card.",
    "demo": "Everything on BBC news with a small model of its own, in a few minutes.",
}


@dataclass(frozen=True)
class _Request:
    """What the user asked for."""

    step: str
    folder: Path
    overwrite: bool
    cfg: RunConfig
    other_data: str | None
    method: str


class _Parser(ArgumentParser):
    """Says the nearest valid name with an unknown one, in one line."""

    step = "run"

    @override
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        unknown = re.search(r"(?:unrecognized arguments: --|does not accept option ['\"])([\w.-]+)", message)
        if unknown:
            if self.step == "run":
                valid = [*(name for name, _ in settings_of(RunConfig)), *_OPTIONS]
            elif unknown.group(1) == "run":
                self.error(f"`{self.step}` takes the run folder without --run: sae-lens-classif {self.step} RUN ...")
            else:
                valid = [option.removeprefix("--") for option in self._option_string_actions]
            close = difflib.get_close_matches(unknown.group(1), valid, n=1, cutoff=0.0)
            message = (
                f"there is no setting {unknown.group(1)!r}; did you mean {close[0]!r}? "
                f"`sae-lens-classif {self.step} --help` lists them all"
            )
        line = " ".join(message.split())
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)


def _build_parser(asked: str) -> ArgumentParser:
    """Parser of all steps; only the one that was asked for gets its settings, which take a while to gather."""
    parser = _Parser(allow_abbrev=False, prog="sae-lens-classif", description="Which concepts does a classifier use?")
    commands = parser.add_subcommands(dest="step", required=True)
    for step, purpose in _STEPS.items():
        if step in ("explain", "report", "publish"):  # these have parsers of their own
            commands.add_subcommand(step, _own_parser(step), help=purpose)
            continue
        command = _Parser(
            print_config=None, description=purpose, usage=f"sae-lens-classif {step} [--run FOLDER] [options]"
        )
        command.add_argument(
            "--run", metavar="FOLDER", type=str, help="The run folder. Default: runs/<preset>, or runs/run."
        )
        command.add_argument(
            "--preset",
            type=str,
            help=f"Settings to begin with, several with commas: {', '.join(preset_names())}.",
        )
        command.add_argument("--config", action=ActionConfigFile, help="A YAML file with settings.")
        command.add_argument(
            "--overwrite",
            action="store_true",
            help="Delete what was made with other settings or texts, and make it anew.",
        )
        if step == "sweep":
            command.add_argument("--grid", metavar="SETTING=V,V", help="A setting and its values; can be repeated.")
        command.add_argument("--debug", action="store_true", help="Show the traceback of an error.")
        if step == asked:
            command.add_class_arguments(RunConfig, None)
            methods = [f"{name} ({title})" for name, title in titles().items()]
            for setting, there_are in (("classifier.backend", backend_names()), ("compare.methods", methods)):
                option = command._option_string_actions[f"--{setting}"]
                option.help = f"{option.help} There are: {', '.join(there_are)}."
        commands.add_subcommand(step, command, help=purpose)
    return parser


def _own_parser(step: str) -> _Parser:
    """Parser of a command that takes a finished run and no settings."""
    parser = _Parser(print_config=None, allow_abbrev=False, prog=f"sae-lens-classif {step}", description=_STEPS[step])
    parser.step = step
    parser.add_argument("run", metavar="RUN", type=str, help="The run folder, trained and evaluated.")
    parser.add_argument("--debug", action="store_true", help="Show the traceback of an error.")
    return parser


def _parse_publication(arguments: Sequence[str]) -> Namespace:
    parser = _own_parser("publish")
    parser.add_argument("repo", metavar="REPO", type=str, help="owner/name on the Hub; made if it does not exist.")
    parser.add_argument("--dry-run", action="store_true", help="Only write RUN/hub: what would be uploaded.")
    parser.add_argument("--license", metavar="ID", type=str, help="Licence of what is published, such as apache-2.0.")
    parser.add_argument("--private", action="store_true", help="Only the owners of the repository see it.")
    parser.add_argument(
        "--with-texts", action="store_true", help="Publish the texts that activate each concept most, too."
    )
    return parser.parse_args(list(arguments))


def _parse_explanation(arguments: Sequence[str]) -> Namespace:
    parser = _own_parser("explain")
    parser.add_argument("text", metavar="TEXT", type=str, help="The text, in quotes.")
    parser.add_argument("--html", metavar="FILE", type=str, help="Write the explanation as a page, too.")
    parser.add_argument(
        "--method",
        metavar="NAME",
        type=str,
        default=_METHOD,
        help="Whose concepts: a method that `compare` fitted. Default: the run's ClassifSAE.",
    )
    return parser.parse_args(list(arguments))


def _parse_report(arguments: Sequence[str]) -> Namespace:
    parser = _own_parser("report")
    parser.add_argument("--out", metavar="FILE", type=str, help="Where to write it. Default: RUN/report.html.")
    parser.add_argument(
        "--explained", metavar="N", type=int, default=100, help="Texts whose class is explained word by word."
    )
    return parser.parse_args(list(arguments))


def preset_names() -> list[str]:
    """Names of the settings that come with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def _preset_file(name: str) -> Path:
    file = PRESETS / f"{name}.yaml"
    if name not in preset_names():
        raise UserError(f"there is no preset {name!r}; {nearest(name, preset_names())}")
    return file


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long; claiming the folder says so
        return False


def parse(arguments: Sequence[str]) -> _Request:
    """Parse the command line of a step.

    Settings come, each over the ones before, from the defaults, the run folder's own ``config.yaml``, the presets,
    the ``--config`` files and the options.

    Raises:
        UserError: If a preset does not exist.
        SystemExit: With code 2 for a wrong option, 0 for ``--help``.
    """
    step, rest = (arguments[0], list(arguments[1:])) if arguments else ("", [])
    asked = value_of("--preset", rest)
    preset = ",".join(name for name in ("demo" if step == "demo" else None, asked) if name)
    folder = Path(value_of("--run", rest) or f"runs/{preset.replace(',', '-') or 'run'}")
    files = [folder / "config.yaml"] if _is_file(folder / "config.yaml") else []
    files += [_preset_file(name) for name in preset.split(",") if name]
    configs, rest = take("--config", rest)
    files += [Path(name) for name in configs]
    given = [settings for settings in map(read_settings, files) if settings]
    if step == "sweep":
        grid, rest = take("--grid", rest)
        given += [{"sweep": {"grid": parse_grid(grid)}}] if grid else []
    other, method = None, _METHOD
    if step == "evaluate":
        others, rest = take("--data", rest)
        other = others[-1] if others else None
        methods, rest = take("--method", rest) if others else ([], rest)
        method = [method, *methods][-1]
    before = [f"--config={write_settings_in_line(settings)}" for settings in given]
    parser = _build_parser(step)
    parsed: Namespace = parser.parse_args([*arguments[:1], *before, *with_brackets(rest)])
    settings = parsed[step]
    cfg = RunConfig(
        **{field.name: _instantiate(RunConfig, field.name, settings[field.name]) for field in fields(RunConfig)}
    )
    return _Request(step, folder, bool(settings["overwrite"]), cfg, other, method)


def _instantiate(owner: type, name: str, values: Any) -> Any:
    section = get_type_hints(owner)[name]
    if isinstance(values, section):
        return values
    return section_of(section, name, {key: value for key, value in vars(values).items() if key != "__path__"})


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; exits with 0, with 2 for the user's mistake, with 1 for ours.

    Args:
        arguments: Default: those of the process.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    try:
        match arguments[:1]:
            case ["publish"]:
                _publish(_parse_publication(arguments[1:]))
            case ["explain"]:
                _explain(_parse_explanation(arguments[1:]))
            case ["report"]:
                _report(_parse_report(arguments[1:]))
            case _:
                _execute(parse(arguments))
    except UserError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on with what is done", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(
            f"error of sae-lens-classif itself: {type(error).__name__}: {error} (--debug shows where)",
            file=sys.stderr,
        )
        sys.exit(1)


def _prepare() -> None:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("sae_lens_classif").setLevel(logging.INFO)


def _publish(asked: Namespace) -> None:
    _prepare()
    from sae_lens_classif.cli.commands import publish

    publish(
        Path(asked.run),
        asked.repo,
        license=asked.license,
        private=asked.private,
        with_texts=asked.with_texts,
        dry_run=asked.dry_run,
    )


def _explain(asked: Namespace) -> None:
    _prepare()
    from sae_lens_classif.cli.commands import explain

    explain(Path(asked.run), asked.text, Path(asked.html) if asked.html else None, asked.method)


def _report(asked: Namespace) -> None:
    _prepare()
    from sae_lens_classif.cli.commands import report

    report(Path(asked.run), Path(asked.out) if asked.out else None, asked.explained)


def _execute(request: _Request) -> None:
    _prepare()
    from sae_lens_classif.cli.commands import COMMANDS, transfer
    from sae_lens_classif.runs.folder import RunFolder

    run = RunFolder(request.folder, request.cfg, request.overwrite)
    run.claim()
    if request.other_data is not None:
        transfer(run, request.other_data, request.method)
    else:
        COMMANDS[request.step](run)
