"""Labels of the bands."""


def labels_of(ax):
    """Return the first line of each label, from bottom to top."""
    return [label.get_text().split("\n")[0] for label in ax.get_yticklabels()]
