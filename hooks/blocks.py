"""The blocks of a transformers model: read what goes into one, and run the model on from it.

The model's own code makes masks, positions and whatever else its blocks are given. Nothing here knows an architecture,
but that a model has one list of blocks whose first argument is the residual stream.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel

from sae_lens_classif.errors import UserError

HOOK = re.compile(r"blocks\.(\d{1,9})\.hook_resid_(pre|post)")
_T = TypeVar("_T")
Forward = Callable[..., Any]
# What takes the place of a block's forward: its number in the pass, and the forward with its arguments.
Instead = Callable[[int, Forward, tuple[Any, ...], dict[str, Any]], Any]


def hook_layer(hook_name: str | None, n_layers: int, default: int | None = None) -> int:
    """Number L of the block whose input a hook is; the number of blocks for the output of the last.

    Args:
        hook_name: ``blocks.L.hook_resid_pre`` of any block, or ``blocks.L.hook_resid_post`` of the last.
        n_layers: Number of blocks.
        default: L without a name. Default: the last block's.

    Raises:
        UserError: If there is no such hook, or no block at all.
    """
    if n_layers < 1:
        raise UserError(f"the model has {n_layers} blocks; give one with at least one")
    if hook_name is None:
        return n_layers - 1 if default is None else default
    match = HOOK.fullmatch(hook_name)
    if match is not None and int(match[1]) < n_layers and match[2] == "pre":
        return int(match[1])
    if hook_name == hook_of_layer(n_layers, n_layers):
        return n_layers
    raise UserError(
        f"there is no hook {hook_name!r} to explain; valid: blocks.L.hook_resid_pre with L = 0..{n_layers - 1}, and "
        f"{hook_of_layer(n_layers, n_layers)}"
    )


def hook_of_layer(layer: int, n_layers: int) -> str:
    """Name of the hook that ``hook_layer`` finds, as TransformerLens has it."""
    return f"blocks.{layer}.hook_resid_pre" if layer < n_layers else f"blocks.{layer - 1}.hook_resid_post"


class Blocks:
    """The blocks of a model, in the order in which a pass calls them.

    Attributes:
        n: How many are called in a pass. A block that is called more than once, as ALBERT's, counts as often.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """
        Args:
            model: Any model of transformers with one stack of blocks.

        Raises:
            UserError: If it has none, or more than one.
        """
        self.n = _n_blocks(model)
        self._modules = list(block_stack(model))
        # What reads the input of block 0 beside it: the convolution of some DeBERTas.
        self._beside_first = [module for name, module in model.named_modules() if name.endswith("encoder.conv")]
        self._n_outputs: int | None = None  # of a block that gives a tuple

    def read(self, layer: int, run: Callable[[], _T], *, stop: bool = False) -> tuple[torch.Tensor, _T]:
        """Run the model and keep the residual stream at one place; see ``read_at``."""
        (stream,), given = self.read_at([layer], run, stop=stop)
        return stream, given

    def read_at(
        self, layers: Sequence[int], run: Callable[[], _T], *, stop: bool = False
    ) -> tuple[list[torch.Tensor], _T]:
        """Run the model and keep the residual stream.

        Args:
            layers: The input of each of these blocks is kept; at ``n`` the output of the last.
            run: Runs the model.
            stop: Skip the blocks from the last of ``layers`` on: what ``run`` gives is then meaningless.

        Returns:
            The streams, float (B, T, d_model) each, and what ``run`` gave.
        """
        kept: dict[int, torch.Tensor] = {}
        last = max(layers)

        def instead(number: int, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if number in layers:
                kept[number] = _stream(args, kwargs)
            if stop and number >= last:
                return self._output(_stream(args, kwargs))
            output = forward(*args, **kwargs)
            self._n_outputs = len(output) if isinstance(output, tuple) else None
            if number == self.n - 1 and self.n in layers:
                kept[self.n] = output[0] if isinstance(output, tuple) else output
            return output

        with self._replaced(instead):
            given = run()
        return [kept[layer] for layer in layers], given

    def go_on(self, layer: int, residual: torch.Tensor, run: Callable[[], _T]) -> _T:
        """Run the model with another residual stream from a block on; those before it are skipped.

        Args:
            layer: The input of this block is replaced; at ``n`` the output of the last.
            residual: float (B, T, d_model); gradients flow back to it.
            run: Runs the model on any tokens of B inputs of the same T, with the mask of the true ones.
        """

        def instead(number: int, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if number == layer:
                args, kwargs = _with_stream(residual, args, kwargs)
            if number >= layer:
                return forward(*args, **kwargs)
            return self._output(residual if number == self.n - 1 else _stream(args, kwargs))

        with self._replaced(instead), ExitStack() as hooks:
            for module in self._beside_first if layer == 0 else ():
                hooks.enter_context(module.register_forward_pre_hook(lambda _, args: (residual, *args[1:])))
            return run()

    def _output(self, stream: torch.Tensor) -> Any:
        """A stream as a block would give it."""
        return stream if self._n_outputs is None else (stream, *[None] * (self._n_outputs - 1))

    @contextmanager
    def _replaced(self, instead: Instead) -> Iterator[None]:
        numbers = count()

        def replacing(forward: Forward) -> Forward:
            return lambda *args, **kwargs: instead(next(numbers), forward, args, kwargs)

        for block in self._modules:
            block.forward = replacing(block.forward)
        try:
            yield
        finally:
            for block in self._modules:
                del block.forward  # of the instance; the class's own is found again


def _n_blocks(model: PreTrainedModel) -> int:
    return int(model.config.get_text_config().num_hidden_layers)


def block_stack(model: PreTrainedModel) -> nn.ModuleList:
    """The list of a model's blocks: as long as its configuration says, or ALBERT's, whose groups share weights.

    Raises:
        UserError: If there is none, or more than one.
    """
    n, found = _n_blocks(model), dict[str, nn.ModuleList]()
    for name, module in model.named_modules():
        is_stack = isinstance(module, nn.ModuleList) and (len(module) == n or name.endswith("albert_layer_groups"))
        if is_stack and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = module
    if len(found) != 1:
        raise UserError(
            f"{type(model).__name__} has {len(found)} stacks of {n} blocks ({', '.join(found) or 'none'}); one is "
            "needed whose residual stream is explained, as encoders and decoders have"
        )
    return next(iter(found.values()))


def _stream(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    stream: torch.Tensor = args[0] if args else kwargs["hidden_states"]
    return stream


def _with_stream(
    stream: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return ((stream, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": stream})
