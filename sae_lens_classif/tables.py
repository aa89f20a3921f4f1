"""What can be shown as a table: pandas makes the frame and, in a notebook, its HTML."""

from abc import ABC, abstractmethod
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_N_ROWS = 30


class Table(ABC):
    """Something with rows."""

    @abstractmethod
    def to_pandas(self) -> "pd.DataFrame":
        """All of it as a data frame."""

    def _repr_html_(self) -> str:
        frame = self.to_pandas()
        shown = frame.head(_N_ROWS).to_html(float_format=lambda value: f"{value:.3f}", na_rep="–", border=0)
        more = f"<p>{len(frame) - _N_ROWS} more rows: .to_pandas()</p>" if len(frame) > _N_ROWS else ""
        return f"<p>{escape(repr(self))}</p>{shown}{more}"
