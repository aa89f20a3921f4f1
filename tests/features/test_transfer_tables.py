"""What is said of a transfer: hand-made numbers, word by word."""

from sae_lens_classif.features.paired import Interval
from sae_lens_classif.features.scores import Difference
from sae_lens_classif.features.transfer import Cell, Matrix, Shots, TransferStudy
from sae_lens_classif.features.transfer_tables import few_shot_rows, in_sentences, means_rows, to_markdown


def number(value: float) -> Interval:
    return Interval(value=value, ci95=(value - 0.05, value + 0.05))


def matrix(approach: str, there: float, back: float, own: float) -> Matrix:
    values = {"en": {"en": own, "de": there}, "de": {"en": back, "de": own}}
    cells = {
        source: {
            target: Cell(macro_f1=number(value), accuracy=value, picked={}, differences={})
            for target, value in of.items()
        }
        for source, of in values.items()
    }
    mean = (there + back) / 2
    return Matrix(
        approach=approach, cells=cells, own=number(own), other=number(mean), all_but=number(mean),
        kept=number(mean / own),
    )  # fmt: skip


def found() -> TransferStudy:
    return TransferStudy(
        what="languages",
        sources=["de", "en"],
        targets=["de", "en"],
        n_texts={"de": (100, 50), "en": (1000, 60)},
        matrices={
            "features": matrix("sae/mean", 0.61, 0.57, 0.8),
            "hidden": matrix("hidden:h/last", 0.65, 0.6, 0.9),
            "words": matrix("words (TF-IDF)", 0.34, 0.3, 0.7),
        },
        floor={"en": {"en": 0.33, "de": 0.33}, "de": {"en": 0.35, "de": 0.33}},
        differences={
            "hidden": Difference(-0.035, (-0.1, 0.02), 0.3, False),
            "words": Difference(0.27, (0.2, 0.3), 0.01, True),
        },
        loss=Difference(-0.21, (-0.3, -0.1), 0.01, True),
        few_shot=[
            Shots(approach="features", source="all but this one", target="de", n=0, macro_f1=[0.6]),
            Shots(approach="features", source="all but this one", target="en", n=0, macro_f1=[0.5]),
            Shots(approach="features", source="all but this one", target="de", n=8, macro_f1=[0.6, 0.7]),
            Shots(approach="features", source="all but this one", target="en", n=8, macro_f1=[0.5, 0.6]),
        ],
        n_duplicates={"en": {"de": 3}},
    )


def test_the_sentences_say_what_is_reached_elsewhere_kept_and_from_where_to_where() -> None:
    elsewhere, kept, pairs = in_sentences(found())
    assert elsewhere == (
        "Trained on one language and tested on another, SAE features reach a macro F1 of 59.0 % (54.0 … 64.0), the "
        "hidden state 62.5 %, the words (TF-IDF) 32.0 %, the commonest class 34.0 %; than the hidden state: no more "
        "apart than chance brings them; than the words (TF-IDF): more than chance brings."
    )
    assert kept == (
        "Trained on the tested language itself they reach 80.0 % (75.0 … 85.0); elsewhere they keep 73.8 % (68.7 … "
        "78.8) of it (less, by more than chance brings)."
    )
    assert pairs == (
        "Trained on en, tested on de: 61.0 % (hidden state 65.0 %, words (TF-IDF) 34.0 %, floor 33.0 %); on de, tested "
        "on en: 57.0 % (hidden state 60.0 %, words (TF-IDF) 30.0 %, floor 35.0 %)."
    )


def test_rows_hold_means_differences_and_the_spread_of_draws() -> None:
    rows = list(means_rows(found()))
    assert rows[0][0] == "SAE features" and rows[0][-1] == "–"
    assert [row[-1] for row in rows[1:]] == ["+3.5", "-27.0*"]
    # Means over targets 0.55 and 0.65 of the two draws, 0.1 / sqrt(2) apart.
    assert list(few_shot_rows(found())) == [("SAE features", "with all but this one", "55.0", "60.0 ± 7.1")]


def test_the_whole_is_markdown_with_a_table_an_approach_and_tells_texts_of_both() -> None:
    written = to_markdown(found())
    assert written.count("\n## ") == 4
    assert "| en | 61.0 (56.0 … 66.0) | 80.0 (75.0 … 85.0) |" in written
    assert "Test texts that are training texts of en, too: 3 of de; no proof there." in written
    assert "de 100 and 50; en 1,000 and 60" in written
