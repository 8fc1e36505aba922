import pytest
import torch as th

from sb3_spiking.snn import SpikingOptions
from sb3_spiking.snn.current_norm import CurrentNorm
from sb3_spiking.snn.layers import hidden_layer


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 4, 3)])
def test_equals_group_normalisation_with_one_group(shape):
    ours, torchs = CurrentNorm(5, 0.7).double(), th.nn.GroupNorm(1, 5).double()
    with th.no_grad():
        assert ours.weight.tolist() == [pytest.approx(0.7)] * 5
        for norm in (ours, torchs):
            norm.weight.copy_(th.tensor([0.5, -1.0, 2.0, 0.0, 1.0]))
            norm.bias.copy_(th.arange(5) / 4)
    currents, grad = th.randn(2, *shape, dtype=th.float64)

    def run(norm):
        x = currents.clone().requires_grad_()
        normalised = norm(x)
        return normalised, *th.autograd.grad(normalised, [x, norm.weight, norm.bias], grad)

    th.testing.assert_close(run(ours), run(torchs))


def test_convolutions_may_be_frozen():
    # torch's group normalisation crashes the process here.
    layer = hidden_layer("conv0", th.nn.Conv2d(3, 8, 3), SpikingOptions(membrane_norm="layer"))
    layer.synapses.requires_grad_(False)
    spikes = layer((th.rand(4, 5, 3, 12, 12) < 0.3).float())
    spikes.sum().backward()
    assert layer.current_norm.weight.grad.abs().sum() > 0
    assert layer.synapses.weight.grad is None
