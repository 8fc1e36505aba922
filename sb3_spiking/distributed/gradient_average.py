"""Gradients averaged over the ranks."""

import torch as th

from sb3_spiking.distributed import group
from sb3_spiking.optimizers.gradient_hooks import Parameters, check_finite


class GradientAverage:
    """
    Average the gradients of some parameters over the ranks, in one message.

    A parameter without a gradient on one rank counts as zero there; one without a gradient on any rank keeps none.

    :param parameters: at least one, of one dtype and on one device, the same on each rank
    """

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = list(parameters.values())
        # One buffer: all the gradients, then a flag per parameter: the number of ranks with a gradient.
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

        :raises FloatingPointError: if a gradient is not finite on any rank
        """
        pieces = list(self._gradients.values())
        gradients = [parameter.grad for parameter in self.parameters]
        self._present.copy_(th.tensor([gradient is not None for gradient in gradients]))
        for gradient, piece in zip(gradients, pieces, strict=True):
            piece.zero_() if gradient is None else piece.copy_(gradient)
        group.all_reduce(self._message)
        self._message /= group.size()
        check_finite(self._gradients, self._message.sum())
        for present, parameter, piece in zip(self._present.tolist(), self.parameters, pieces, strict=True):
            if present:
                # The buffer's own memory: it is written next when there are new gradients to average.
                parameter.grad = piece
