"""Returns and agreement of conversions."""

import pytest

from sb3_spiking.plotting import (
    plot_paired_returns,
    plot_sweep,
)


def test_comparisons_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match="returns of the same episodes; there are 2 and 1"):
        plot_paired_returns([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="results of coding are empty"):
        plot_sweep("coding", {})
