"""Averages of gradients over the ranks."""

import torch as th

from sb3_spiking.distributed import group
from sb3_spiking.optimizers.gradient_hooks import Parameters, check_finite


class Average:
    """
    The average over the ranks of the gradients of some parameters, in one message.

    A parameter that has no gradient on one rank counts as zero there, one that has none on any keeps none.

    :param parameters: of one type and on one device, the same on each rank, at least one
    """

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = list(parameters.values())
        sizes = [parameter.numel() for parameter in self.parameters]
        self._message = self.parameters[0].new_zeros(sum(sizes) + len(sizes))
        *pieces, self._present = self._message.split([*sizes, len(sizes)])
        self._gradients = {
            name: piece.view_as(parameter) for piece, (name, parameter) in zip(pieces, parameters.items(), strict=True)
        }

    @th.no_grad()
    def __call__(self) -> None:
        """
        Replace the gradients by their averages.

        :raises FloatingPointError: if one is not finite, on whatever rank
        """
        pieces = list(self._gradients.values())
        gradients = [parameter.grad for parameter in self.parameters]
        self._present.copy_(th.tensor([gradient is not None for gradient in gradients]))
        for gradient, piece in zip(gradients, pieces, strict=True):
            piece.zero_() if gradient is None else piece.copy_(gradient)
        group.add(self._message)
        self._message /= group.size()
        check_finite(self._gradients, self._message.sum())
        for present, parameter, piece in zip(self._present.tolist(), self.parameters, pieces, strict=True):
            if present:
                # The piece itself: nothing is written to it before there are new gradients to average.
                parameter.grad = piece
