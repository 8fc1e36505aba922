import pytest
import torch as th

from sb3_spiking.snn import PopulationDecoder


def test_decoding_by_hand():
    decoder = PopulationDecoder(2, population=2)
    with th.no_grad():
        decoder.weight.copy_(th.tensor([[1.0, -1.0], [0.5, 2.0]]))
        decoder.bias.copy_(th.tensor([0.0, 1.0]))
    spikes = th.tensor([[[1.0, 0.0, 1.0, 1.0]], [[1.0, 1.0, 0.0, 1.0]]])
    # Rates 1, 0.5 and 0.5, 1.
    th.testing.assert_close(decoder(spikes), th.tensor([[0.5, 3.25]]))


def test_equals_the_published_grouped_convolution():
    decoder = PopulationDecoder(6, population=10)
    convolution = th.nn.Conv1d(6, 6, 10, groups=6)
    with th.no_grad():
        convolution.weight.copy_(decoder.weight[:, None])
        convolution.bias.copy_(decoder.bias)
    spikes = (th.rand(5, 7, 60) < 0.3).float()
    theirs = convolution(spikes.mean(dim=0).view(7, 6, 10)).squeeze(-1)
    th.testing.assert_close(decoder(spikes), theirs)


def test_outputs_do_not_mix():
    decoder = PopulationDecoder(3, population=4)
    spikes = (th.rand(5, 1, 12) < 0.5).float()
    silenced = spikes.clone()
    silenced[..., 4:8] = 0.0
    changed = (decoder(spikes) != decoder(silenced)).flatten().tolist()
    assert changed == [False, True, False]


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match="decoder_population=0"):
        PopulationDecoder(2, 0)
