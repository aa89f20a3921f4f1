"""The page for the first hour: its lines, one after the other, on real tweets with a rare class."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from sae_lens_classif.config.classifier import DataConfig
from sae_lens_classif.data.texts import load_text_data
from tests.tiny_run import cli

_ROOT = Path(__file__).parents[2]
_PAGE = _ROOT / "docs" / "first_hour.md"
_TWEETS = _ROOT.parent / "shared" / "data" / "tweeteval_sentiment"


@pytest.mark.slow
@pytest.mark.skipif(not _TWEETS.is_dir(), reason=f"the tweets are not in {_TWEETS.parent.name}/{_TWEETS.name}")
def test_every_line_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_text_data(DataConfig(source=str(_TWEETS), class_names=("negative", "neutral", "positive")), "train")
    frame = pd.DataFrame({"tweet": data.texts, "mood": [data.class_names[label] for label in data.labels]})
    shares = {"negative": 200, "neutral": 1200, "positive": 1600}
    parts = [frame[frame["mood"] == name].head(number) for name, number in shares.items()]
    pd.concat(parts).to_csv(tmp_path / "tweets.csv", index=False)
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    blocks = re.findall(r"```(python|sh)\n(.*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert [kind for kind, _ in blocks].count("sh") == 2 and len(blocks) > 7
    for kind, block in blocks:
        if kind == "python":
            exec(block, found)
            continue
        ended = cli(*shlex.split(block)[1:])
        assert ended.code == 0, ended.stderr
    printed = capsys.readouterr().out
    assert "negative" in printed and "Evaluation(20 concepts" in printed
    scored = pd.read_csv("scored.csv")
    assert len(scored) == 100 and set(scored["predicted"]) <= set(shares)
    page = Path("runs/tweets/report.html").read_text(encoding="utf-8")
    assert "what I call it" in page
