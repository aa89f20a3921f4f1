"""What is on a page, as a parser of HTML finds it."""

from html.parser import HTMLParser


class ParsedPage(HTMLParser):
    """Tags, attributes and visible words of a page, as a parser of HTML finds them."""

    _EMPTY = frozenset({"meta", "input", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self._EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes nothing"
        if tag in ("td", "th", "dt", "dd", "li"):
            self.words += " "

    def handle_data(self, data: str) -> None:
        if "script" not in self._open and "style" not in self._open:
            self.words += data

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]
