"""The headline numbers of a run: how they are called, and whether they read better in percent."""

Headline = tuple[str, str, bool]  # name, heading, whether it is a share
HEADLINES: tuple[Headline, ...] = (
    ("original_accuracy", "Accuracy of the model", True),
    ("bottleneck_accuracy", "Accuracy through the concepts alone", True),
    ("recovery_accuracy", "Decisions recovered by the concepts (RAcc)", True),
    ("mean_activation_rate", "Activation rate of a concept, mean", True),
    ("max_activation_rate", "Activation rate of a concept, largest", True),
    ("conditional_tvd", "Shift of the probabilities without a concept (TVD)", True),
    ("conditional_label_flip_rate", "Decisions flipped without a concept", True),
    ("conditional_accuracy_change", "Change of accuracy without a concept", True),
    ("concept_sim", "Likeness of a concept's texts (ConceptSim)", False),
)
FLOOR: Headline = ("dataset_mean_cosine", "  the same over all texts, the floor", False)


def headlines(*names: str) -> tuple[Headline, ...]:
    """Some of the headlines, in this order.

    Args:
        names: Of ``HEADLINES`` or ``FLOOR``.
    """
    by_name = {headline[0]: headline for headline in (*HEADLINES, FLOOR)}
    return tuple(by_name[name] for name in names)
