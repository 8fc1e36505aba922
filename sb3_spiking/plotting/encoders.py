"""What a population encoder sees: its receptive fields, before and after learning, and an observation on them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch as th

from sb3_spiking.plotting.axes import BAND, label_bands, new_axes
from sb3_spiking.snn import PopulationEncoder
from sb3_spiking.snn.inputs import SeveralInputs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 400
"""Of a curve."""
FAINT = 0.003
"""An activity that would not be seen; the tails of ten fields on each other would be."""


def plot_receptive_fields(
    encoder: PopulationEncoder,
    ax: "Axes | None" = None,
    before: PopulationEncoder | None = None,
    names: Sequence[str] | None = None,
) -> "Axes":
    """
    Draw the receptive fields of a population encoder, a band for each observation dimension from bottom to top.

    :param encoder: the encoder; ``policy.spiking_network.encoder`` of a policy with vector observations
    :param ax: where to draw; a new figure if None
    :param before: the same encoder earlier, for example a copy from before the training; drawn behind
    :param names: of the observation dimensions
    :return: the axes
    :raises TypeError: if there is no population of receptive fields
    :raises ValueError: if there is not a name for each dimension, or the two encoders differ in size
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
    Draw how an encoder sees one observation: where it lies on the receptive fields, and what they send.

    In the axes, a line for the observation's value in each dimension; the dots on it are the activities of the
    fields that it meets. Beside them, what is sent at each time step, in the colours and the order of the fields.

    :param encoder: the encoder
    :param features: the observation as the network sees it, ``[obs_dim]``; see
        [`spiking_features`][sb3_spiking.policies.common.SpikingPolicy.spiking_features]
    :param ax: where to draw; a new figure if None
    :param names: of the observation dimensions
    :return: the axes; those of the spikes are the last of the figure
    :raises TypeError: if there is no population of receptive fields
    :raises ValueError: if the features are not one observation of the encoder's, or there is not a name for each
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
    # It takes its room from the axes that were given; axes outside of them would be cut off.
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
        alpha=sent[step, band, neuron].tolist() if len(step) else None,  # faint where a current is weak
        linewidth=max(1.0, min(4.0, 100.0 / encoder.features)),
    )
    _label(ax, x, labels)
    ax.set_title("An observation on the receptive fields")
    beside.set_title("what is sent")
    beside.set_xlabel("time step")
    beside.set_xticks(range(1, encoder.time_steps + 1))
    beside.set_xlim(0.5, encoder.time_steps + 0.5)
    beside.tick_params(axis="y", length=0, labelleft=False)
    beside.spines[["top", "right", "left"]].set_visible(False)
    return ax


def _check_encoder(name: str, encoder: object) -> None:
    """
    Refuse what has no receptive fields.

    :param name: name of the argument, for the error
    :param encoder: what the user gave
    :raises TypeError: the message says where there are some, or why there are none
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
    """Return where to draw curves: wherever a field of one of the encoders is alive, or an observation lies."""
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
