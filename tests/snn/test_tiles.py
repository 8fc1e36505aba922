"""Products and transposed weights in registers, for any sizes; what lies beyond the end is not read as a number."""

import numpy as np
import pytest

SIZES = [(1, 1, 1), (5, 16, 4), (7, 3, 2), (4, 17, 33), (16, 170, 60), (80, 64, 130), (81, 200, 256)]


@pytest.mark.parametrize(("rows", "inputs", "neurons"), SIZES)
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_currents_are_matrix_products(rows, inputs, neurons, density):
    from sb3_spiking.snn.execution import acting_kernels

    rng = np.random.default_rng(0)
    room = np.full(64, np.nan, np.float32)  # behind the spikes
    spikes = (rng.random((rows, inputs)) < density).astype(np.float32)
    weight = rng.standard_normal((neurons, inputs)).astype(np.float32)
    expected = spikes @ weight.T
    values = np.concatenate([spikes.reshape(-1), room])
    table = np.empty(acting_kernels.padded(neurons) * inputs, np.float32)
    current = np.full(rows * neurons, np.nan, np.float32)
    acting_kernels.products(values, rows, inputs, weight.reshape(-1), neurons, current)
    np.testing.assert_allclose(current.reshape(rows, neurons), expected, rtol=1e-4, atol=1e-4)
    listed, starts = np.empty(rows * inputs, np.int32), np.empty(rows + 1, np.int64)
    weights = (weight.reshape(-1), neurons, table)
    transposed = False
    for share in (1.0, 0.0):  # of the time to transpose
        current[:] = np.nan
        transposed = acting_kernels.currents_of_spikes(
            values, rows, inputs, weights, transposed, share, listed, starts, current
        )
        np.testing.assert_allclose(current.reshape(rows, neurons), expected, rtol=1e-4, atol=1e-4)
    if density < 0.5 and rows >= 16:
        assert transposed
        expected_table = np.zeros((acting_kernels.padded(neurons), inputs), np.float32)
        expected_table[:neurons] = weight
        columns = table.reshape(-1, inputs, acting_kernels.WIDTH)
        np.testing.assert_array_equal(columns.transpose(0, 2, 1).reshape(-1, inputs), expected_table)
