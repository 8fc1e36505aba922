"""Who looks at what a network does: then the modules run themselves, one operation of torch after the other."""

import torch as th
from torch import nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode


def is_watched(module: nn.Module) -> bool:
    """
    Tell whether somebody looks at what a module does.

    :param module: a neuron, or synapses
    :return: True if it has hooks
    """
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks)


def operations_are_watched() -> bool:
    """Tell whether torch's operations are being counted or traced."""
    return is_in_torch_dispatch_mode() or th._C._len_torch_function_stack() > 0
