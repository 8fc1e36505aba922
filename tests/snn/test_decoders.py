import pytest
import torch as th
from spikingjelly.activation_based import neuron as sj

from sb3_spiking.snn import Decoder
from sb3_spiking.snn.decoders import DECODERS


def test_decoding_by_hand():
    decoder = Decoder(4, 2, population=2)
    with th.no_grad():
        decoder.weight.copy_(th.tensor([[1.0, -1.0], [0.5, 2.0]]))
        decoder.bias.copy_(th.tensor([0.0, 1.0]))
    spikes = th.tensor([[[1.0, 0.0, 1.0, 1.0]], [[1.0, 1.0, 0.0, 1.0]]])
    # Rates 1, 0.5 and 0.5, 1.
    th.testing.assert_close(decoder(spikes), th.tensor([[0.5, 3.25]]))


def test_equals_the_published_grouped_convolution():
    decoder = Decoder(60, 6, population=10)
    convolution = th.nn.Conv1d(6, 6, 10, groups=6)
    with th.no_grad():
        convolution.weight.copy_(decoder.weight[:, None])
        convolution.bias.copy_(decoder.bias)
    spikes = (th.rand(5, 7, 60) < 0.3).float()
    theirs = convolution(spikes.mean(dim=0).view(7, 6, 10)).squeeze(-1)
    th.testing.assert_close(decoder(spikes), theirs)


def test_outputs_do_not_mix():
    decoder = Decoder(12, 3, population=4)
    spikes = (th.rand(5, 1, 12) < 0.5).float()
    silenced = spikes.clone()
    silenced[..., 4:8] = 0.0
    changed = (decoder(spikes) != decoder(silenced)).flatten().tolist()
    assert changed == [False, True, False]


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match="out_dim=0"):
        Decoder(4, 0)


def plain_decoder(decoder, spikes, statistic, decay):
    """Each decoder as the module's text writes it, step by step."""
    currents = [decoder._map(step) + decoder.bias for step in spikes]
    v, membranes = th.zeros_like(currents[0]), []
    for x in currents:
        v = decay * v + x
        membranes.append(v)
    return {
        "rate": lambda: sum(currents) / len(currents),
        "accumulated": lambda: sum(currents),
        "last": lambda: membranes[-1],
        "mean": lambda: sum(membranes) / len(membranes),
        "max": lambda: th.stack(membranes).max(dim=0).values,
    }[statistic]()


@pytest.mark.parametrize("statistic", sorted(DECODERS))
@pytest.mark.parametrize("population", [None, 4])
@pytest.mark.parametrize("time_steps", [1, 2, 7])
def test_statistics_step_by_step(statistic, population, time_steps):
    decay = 0.6
    cls = DECODERS[statistic]
    leaky = statistic in ("last", "mean", "max")
    decoder = Decoder(12, 3, population, cls(decay) if leaky else cls()).double()
    spikes = (th.rand(time_steps, 5, 12) < 0.4).double()
    th.testing.assert_close(decoder(spikes), plain_decoder(decoder, spikes, statistic, decay))


@pytest.mark.parametrize(("mode", "statistic"), [("last_mem", "last"), ("max-mem", "max"), ("mean-mem", "mean")])
def test_membranes_equal_spikingjellys_non_spiking_neurons(mode, statistic):
    tau = 4.0
    decoder = Decoder(8, 3, statistic=DECODERS[statistic](1.0 - 1.0 / tau))
    spikes = (th.rand(6, 5, 8) < 0.4).float()
    node = sj.NonSpikingLIFNode(tau=tau, decode=mode)
    # SpikingJelly charges with (x - v) / tau.
    theirs = node(tau * (th.nn.functional.linear(spikes, decoder.weight, decoder.bias)))
    th.testing.assert_close(decoder(spikes), theirs)


@pytest.mark.parametrize("decay", [0.0, -0.1, 1.1, float("nan")])
def test_bad_decays_are_named(decay):
    with pytest.raises(ValueError, match="membrane_decay"):
        DECODERS["last"](decay)
