"""How a classifier reads texts: as they are, or in a prompt that is answered by one token a class."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal, Protocol

from transformers import PreTrainedTokenizerBase

from sae_lens_classif.config.classifier import PAIR_MARK, PromptConfig
from sae_lens_classif.errors import UserError

LAST_OF_PROMPT = "the last token of the prompt"
_OF_PROMPTS = ("template", "option", "label_word", "label_words")  # settings that a model with a head has not


class TextInputs(Protocol):
    """From texts to what a model reads.

    Attributes:
        cut: Which side of a text is dropped where it is too long.
        max_tokens: Longest input.
        prepends_bos: Whether each input begins with the tokenizer's BOS token.
    """

    @property
    def cut(self) -> Literal["beginning", "end"]: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def prepends_bos(self) -> bool: ...

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without padding; two texts with the same ids are the same to the model."""
        ...

    def described(self) -> dict[str, Any]:
        """What ``summary.json`` notes under ``prompt``: ``cut``, ``max_tokens``, and what else is of interest."""
        ...

    def made_from(self) -> dict[str, Any]:
        """Everything that decides which ids a text becomes, tokenizer and classes aside, as JSON can hold it."""
        ...


def label_words(cfg: PromptConfig, class_names: Sequence[str]) -> tuple[str, ...]:
    """The answer of each class, in class order.

    Raises:
        UserError: If ``label_words`` are not one a class, or two classes share one.
    """
    words = cfg.label_words or tuple(
        cfg.label_word.replace("{id}", str(number)).replace("{name}", name) for number, name in enumerate(class_names)
    )
    if len(words) != len(class_names):
        raise UserError(
            f"prompt.label_words are {len(words)} ({', '.join(words)}) for {len(class_names)} classes "
            f"({', '.join(class_names)}); give one a class"
        )
    if len(set(words)) < len(words):
        raise UserError(f"the label words {', '.join(words)} are not all different; change prompt.label_word")
    return tuple(words)


class PromptTokenizer:
    """Writes the prompt of a text as token ids, and knows the label tokens.

    The text and its template are tokenised together, as in ordinary fine-tuning. Where the result is
    too long, tokens of the text are dropped, never of the template. There is no padding here.

    Attributes:
        label_words: The answer of each class.
        label_token_ids: Token id of each answer, in class order.
        max_tokens: Longest prompt.
        cut: Which side of a text is dropped where its prompt is too long.
        prepends_bos: Whether each prompt begins with the tokenizer's BOS token.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, cfg: PromptConfig, class_names: Sequence[str], context: int
    ) -> None:
        """
        Args:
            tokenizer: Tokenizer of the model.
            cfg: Template and label words.
            class_names: Names of the C classes.
            context: Longest sequence the model can read, in tokens.

        Raises:
            UserError: If a label word is not one token, or the template leaves no room for a text.
        """
        if cfg.pairs:
            raise UserError(
                "texts are pairs (data.text_pair_column), which a model with a head reads; for one that answers a "
                "prompt write both into one column"
            )
        self.tokenizer = tokenizer
        self.cfg = cfg
        self.class_names = tuple(class_names)
        self.label_words = label_words(cfg, class_names)
        self.max_tokens = min(cfg.max_tokens or context, context)
        self.cut = cfg.cut
        options = "\n".join(
            cfg.option.replace("{label}", word).replace("{name}", name)
            for word, name in zip(self.label_words, class_names, strict=True)
        )
        head, tail = cfg.template.split("{text}")
        self._head, self._tail = head.replace("{options}", options), tail.replace("{options}", options)
        # Only a tokenizer that begins every sequence with a BOS token gets one; an EOS at the end of
        # a prompt would stand between the prompt and its answer.
        starts = tokenizer("a")["input_ids"]
        bos = tokenizer.bos_token_id
        self._bos = [bos] if bos is not None and starts[:1] == [bos] else []
        self.prepends_bos = bool(self._bos)
        self._head_ids = self._bos + self._encode(self._head)
        self._tail_ids = self._encode(self._tail)
        self._room = self.max_tokens - len(self._head_ids) - len(self._tail_ids)
        if self._room < 1:
            raise UserError(
                f"the template alone has {len(self._head_ids) + len(self._tail_ids)} tokens and a prompt may have "
                f"{self.max_tokens}; shorten prompt.template or raise prompt.max_tokens (the model reads {context})"
            )
        self.label_token_ids = [self._label_token(word) for word in self.label_words]
        if len(set(self.label_token_ids)) < len(self.label_token_ids):
            raise UserError(
                f"two of the label words {', '.join(self.label_words)} are the same token {self.label_token_ids}; "
                "set prompt.label_words to words that the tokenizer tells apart"
            )

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _label_token(self, word: str) -> int:
        stem = self._encode(self._tail)
        whole = self._encode(self._tail + word)
        if whole[: len(stem)] != stem or len(whole) != len(stem) + 1:
            raise UserError(
                f"the label word {word!r} is not one token after the template: it adds "
                f"{self.tokenizer.convert_ids_to_tokens(whole[len(stem) :])}; set prompt.label_words to words "
                "that are one token each"
            )
        return whole[-1]

    def prompt(self, text: str) -> str:
        """The prompt of one text, before it is cut. The label is never in it."""
        return f"{self._head}{text}{self._tail}"

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text's prompt, at most ``max_tokens`` each, without padding."""
        prompts = [self.prompt(text) for text in texts]
        encoded = self.tokenizer(prompts, add_special_tokens=False, verbose=False)["input_ids"]
        most = self.max_tokens - len(self._bos)
        return [
            self._bos + ids if len(ids) <= most else self._cut(text) for ids, text in zip(encoded, texts, strict=True)
        ]

    def described(self) -> dict[str, Any]:
        """See ``TextInputs``: the settings of the prompt, and what they came to with this model."""
        return {**self._settings(), "label_words": list(self.label_words), "max_tokens": self.max_tokens}

    def made_from(self) -> dict[str, Any]:
        """See ``TextInputs``."""
        return {"prompt": {**self._settings(), "label_words": self.label_words}, "max_tokens": self.max_tokens}

    def _settings(self) -> dict[str, Any]:
        settings = asdict(self.cfg)
        del settings["pairs"]  # a prompt has one text
        return settings

    def _cut(self, text: str) -> list[int]:
        # Tokenised apart: in one piece, a token may hold the end of the template and the start of the text.
        ids = self._encode(text)
        kept = ids[-self._room :] if self.cut == "beginning" else ids[: self._room]
        return self._head_ids + kept + self._tail_ids


class PlainTexts:
    """Writes a text as token ids as the model's tokenizer does, with its special tokens and nothing else.

    Attributes:
        max_tokens: Longest input, special tokens included.
        cut: Which side of a text is dropped where it is too long: the tokenizer's own ``truncation_side``. Of a pair
            the longer one is cut.
        prepends_bos: Whether each input begins with the tokenizer's BOS token.
        pairs: Whether each text is two, with ``PAIR_MARK`` between.
        second_after: Token after whose first place the second text of a pair begins, for a model that tells the two
            apart by token types; None for any other, and where there are no pairs.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, cfg: PromptConfig | None, context: int) -> None:
        """
        Args:
            tokenizer: Tokenizer of the model.
            cfg: Its ``max_tokens`` and ``pairs``.
            context: Longest sequence the model can read, in tokens.

        Raises:
            UserError: If a template or label words are asked for, which such a model has not, or no token of a text is
                left beside the special ones.
        """
        cfg = cfg or PromptConfig()
        changed = [name for name in _OF_PROMPTS if getattr(cfg, name) != getattr(PromptConfig(), name)]
        if changed:
            raise UserError(
                f"prompt.{changed[0]} is set, but this model has a head and reads the texts as they are; leave it out"
            )
        self.tokenizer = tokenizer
        self.max_tokens = min(cfg.max_tokens or context, context, tokenizer.model_max_length)
        self.cut: Literal["beginning", "end"] = "beginning" if tokenizer.truncation_side == "left" else "end"
        starts = tokenizer("a")["input_ids"]
        self.prepends_bos = tokenizer.bos_token_id is not None and starts[:1] == [tokenizer.bos_token_id]
        self.pairs = cfg.pairs
        self.second_after = _second_after(tokenizer) if cfg.pairs else None
        n_special = tokenizer.num_special_tokens_to_add(pair=cfg.pairs)
        if self.max_tokens <= n_special:
            raise UserError(
                f"prompt.max_tokens is {self.max_tokens}, of which {n_special} are special tokens; raise it (the model "
                f"reads {context})"
            )

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text or pair, at most ``max_tokens`` each, without padding.

        Raises:
            UserError: If a text is a pair where single ones are read, or the other way round, has no token, or the
                first of a pair holds the token that stands between the two.
        """
        other = next((text for text in texts if text.count(PAIR_MARK) != int(self.pairs)), None)
        if other is not None:
            raise UserError(
                f"a text holds {other.count(PAIR_MARK)} times {PAIR_MARK}, which stands between the two of a pair, and "
                f"{'pairs' if self.pairs else 'single texts'} are read here; give data.text_pair_column for pairs "
                "alone"
            )
        given = [list(texts)]
        if self.pairs:
            given = [[text.split(PAIR_MARK)[place].strip() for text in texts] for place in (0, 1)]
        encoded = self.tokenizer(*given, truncation=True, max_length=self.max_tokens)
        ids: list[list[int]] = encoded["input_ids"]
        if not all(ids):
            raise UserError(f"a text ({texts[[len(one) for one in ids].index(0)]!r}) has no token; give one with words")
        if self.second_after is not None:
            self._check_pairs(self.second_after, given[0], ids, encoded["token_type_ids"])
        return ids

    def _check_pairs(self, mark: int, firsts: Sequence[str], ids: list[list[int]], types: list[list[int]]) -> None:
        """Refuse a first text that holds the token by which the second one is found."""
        for first, own, of_pair in zip(firsts, ids, types, strict=True):
            if own.index(mark) + 1 != of_pair.index(1):
                raise UserError(
                    f"the first text of a pair holds {self.tokenizer.decode(mark)} ({first[:80]!r}), which to this "
                    "model stands between the two; take it out of the texts"
                )

    def described(self) -> dict[str, Any]:
        """See ``TextInputs``."""
        return {"cut": self.cut, "max_tokens": self.max_tokens, **({"pairs": True} if self.pairs else {})}

    def made_from(self) -> dict[str, Any]:
        """See ``TextInputs``."""
        return {"texts": self.described()}


def _second_after(tokenizer: PreTrainedTokenizerBase) -> int | None:
    pair = tokenizer("a", "b")
    types: list[int] = pair.get("token_type_ids") or []
    return int(pair["input_ids"][types.index(1) - 1]) if 1 in types else None
