"""Pictures of population encoders: receptive fields, before and after learning, and the encoding of an observation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch as th

from sb3_spiking.plotting.axes import BAND, label_bands, new_axes
from sb3_spiking.snn import PopulationEncoder
from sb3_spiking.snn.inputs import SeveralInputs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 400
"""Number of points of a curve."""
FAINT = 0.003
"""Smallest activity that is drawn: a single one below would be invisible, but ten overlapping tails would not."""


def plot_receptive_fields(
    encoder: PopulationEncoder,
    ax: "Axes | None" = None,
    before: PopulationEncoder | None = None,
    names: Sequence[str] | None = None,
) -> "Axes":
    """
    Draw the receptive fields of a population encoder, a band for each observation dimension from bottom to top.

    :param encoder: population encoder, ``policy.spiking_network.encoder`` of a policy with vector observations
    :param ax: axes to draw on; those of a new figure if None
    :param before: earlier state of the encoder, for example a copy from before the training; drawn behind
    :param names: names of the observation dimensions
    :return: the axes
    :raises TypeError: if an encoder has no receptive fields
    :raises ValueError: if the names do not match the dimensions, or the two encoders differ in size
    """
    _check_encoder("encoder", encoder)
    if before is not None:
        _check_encoder("before", before)
    labels = _names(encoder, names)
    if before is not None and before.mean.shape != encoder.mean.shape:
        sizes = [" x ".join(map(str, one.mean.shape)) for one in (before, encoder)]
        raise ValueError(f"before={sizes[0]} receptive fields must be as many as the encoder's, {sizes[1]}")
    ax = ax or new_axes()
    x = _places([encoder] if before is None else [before, encoder])
    if before is not None:
        _draw_fields(ax, before, x, color="0.6", linewidth=1.2, linestyle=":")
    _draw_fields(ax, encoder, x)
    if before is not None:
        ax.plot([], [], color="0.6", linestyle=":", label="before")
        ax.plot([], [], color="0.2", label="after")
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _label(ax, x, labels)
    ax.set_title("Receptive fields")
    return ax


def plot_encoding(
    encoder: PopulationEncoder, features: th.Tensor, ax: "Axes | None" = None, names: Sequence[str] | None = None
) -> "Axes":
    """
    Draw the encoding of one observation: its activities in the receptive fields, and the spikes of the encoder.

    A line marks the observation's value in each dimension; the dots on it are the activities of the fields. Second axes
    beside them show the spikes (or currents) of each time step, in the colours and the order of the fields.

    :param encoder: population encoder
    :param features: observation as the network sees it, ``[obs_dim]``; see
        [`spiking_features`][sb3_spiking.policies.common.SpikingPolicy.spiking_features]
    :param ax: axes to draw on; those of a new figure if None
    :param names: names of the observation dimensions
    :return: the axes; those of the spikes are the last of the figure
    :raises TypeError: if the encoder has no receptive fields
    :raises ValueError: if the features are not one observation of the encoder, or the names do not match its dimensions
    """
    _check_encoder("encoder", encoder)
    labels = _names(encoder, names)
    features = th.as_tensor(features)
    if features.shape != (encoder.obs_dim,):
        raise ValueError(f"features={tuple(features.shape)} must be one observation, ({encoder.obs_dim},)")
    from mpl_toolkits.axes_grid1 import make_axes_locatable

    ax = ax or new_axes()
    with th.no_grad():
        activity = encoder.activity(features[None].to(encoder.mean))
        sent = encoder.encode(activity).tensor()[:, 0].unflatten(1, (encoder.obs_dim, -1)).cpu()
    activity = activity[0].unflatten(0, (encoder.obs_dim, -1)).cpu()
    x = _places([encoder], features)
    _draw_fields(ax, encoder, x, alpha=0.55)
    # The new axes take their room from the given ones; outside of them they would be clipped.
    beside = make_axes_locatable(ax).append_axes("right", "40%", pad=0.1, sharey=ax)
    for band, value in enumerate(features.tolist()):
        ax.vlines(value, band, band + BAND, color="black", linewidth=1.2)
        for neuron, active in enumerate(activity[band].tolist()):
            if active > FAINT:
                ax.plot(value, band + BAND * active, "o", color=f"C{neuron % 10}", markersize=5)
    step, band, neuron = sent.nonzero(as_tuple=True)
    beside.hlines(
        band + BAND * (neuron + 0.5) / encoder.population,
        step + 0.55,
        step + 1.45,
        color=[f"C{index % 10}" for index in neuron.tolist()],
        alpha=sent[step, band, neuron].tolist() if len(step) else None,  # weak currents are faint
        linewidth=max(1.0, min(4.0, 100.0 / encoder.features)),
    )
    _label(ax, x, labels)
    ax.set_title("An observation on the receptive fields")
    beside.set_title("input spikes")
    beside.set_xlabel("time step")
    beside.set_xticks(range(1, encoder.time_steps + 1))
    beside.set_xlim(0.5, encoder.time_steps + 0.5)
    beside.tick_params(axis="y", length=0, labelleft=False)
    beside.spines[["top", "right", "left"]].set_visible(False)
    return ax


def _check_encoder(name: str, encoder: object) -> None:
    """
    Check that an argument has receptive fields.

    :param name: name of the argument, for the error
    :param encoder: value of the argument
    :raises TypeError: if it has none; the message names encoders that have some, if there are any
    """
    if isinstance(encoder, PopulationEncoder):
        return
    advice = "pass policy.spiking_network.encoder of a policy with populations (encoder='deterministic')"
    if isinstance(encoder, SeveralInputs):
        drawn = [
            f"encoder.stages[{i}]" for i, stage in enumerate(encoder.stages) if isinstance(stage, PopulationEncoder)
        ]
        advice = (
            f"it holds several; draw one of {', '.join(drawn)}" if drawn else f"all its entries are currents; {advice}"
        )
    raise TypeError(f"{name} is a {type(encoder).__name__}, which has no receptive fields: {advice}")


def _draw_fields(ax: "Axes", encoder: PopulationEncoder, x: th.Tensor, color: str | None = None, **style: Any) -> None:
    with th.no_grad():
        heights = encoder.activity(x[:, None].expand(-1, encoder.obs_dim).to(encoder.mean))
    heights = heights.unflatten(1, (encoder.obs_dim, -1)).cpu()
    for band in range(encoder.obs_dim):
        for neuron in range(encoder.population):
            height = heights[:, band, neuron]
            shown = height > FAINT
            ax.plot(x[shown], band + BAND * height[shown], color=color or f"C{neuron % 10}", **style)


def _places(encoders: Sequence[PopulationEncoder], features: th.Tensor | None = None) -> th.Tensor:
    """Return the x coordinates of the curves: they cover all the fields, and the observation."""
    ends = [] if features is None else [features.detach().cpu()]
    for encoder in encoders:
        mean, reach = encoder.mean.detach().cpu(), 2.5 * encoder.widths().detach().cpu()
        ends += [(mean - reach).flatten(), (mean + reach).flatten()]
    every = th.cat(ends)
    return th.linspace(every.min().item(), every.max().item(), POINTS)


def _names(encoder: PopulationEncoder, names: Sequence[str] | None) -> list[str]:
    if names is None:
        return [f"dimension {index}" for index in range(encoder.obs_dim)]
    if len(names) != encoder.obs_dim:
        raise ValueError(f"names={list(names)!r} must be one for each of the {encoder.obs_dim} observation dimensions")
    return list(names)


def _label(ax: "Axes", x: th.Tensor, labels: Sequence[str]) -> None:
    ax.hlines(range(len(labels)), x[0].item(), x[-1].item(), color="0.8", linewidth=0.8, zorder=0)
    label_bands(ax, labels)
    ax.set_xlim(x[0].item(), x[-1].item())
    ax.set_xlabel("observation, as the network sees it")
