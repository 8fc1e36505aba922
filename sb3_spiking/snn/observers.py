"""
Detection of observers: hooks, operation counters, tracers, compilers, transforms.

The fused kernels are invisible to all of these, so torch's own operations run instead where there is one.
"""

import torch as th
from torch import nn
from torch.autograd import forward_ad
from torch.nn.modules.module import _has_any_global_hook
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import is_in_torch_dispatch_mode


def is_watched(module: nn.Module) -> bool:
    """
    Tell whether a module is observed or replaced.

    :param module: neurons, a surrogate or synapses
    :return: True if it has forward or backward hooks (of its own or of all modules), or a ``forward`` of its own
    """
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks) or "forward" in module.__dict__ or _has_any_global_hook()


def operations_are_traced() -> bool:
    """
    Tell whether torch's operations are recorded, compiled or transformed, so that values must not be read.

    :return: True inside ``th.jit.trace``, ``th.compile``, ``th.export``, both of ``th.onnx.export``'s exporters,
        ``make_fx``, fake tensors, ``th.func`` transforms and forward-mode differentiation
    """
    # While it compiles, dynamo understands the first of these only.
    return th.compiler.is_compiling() or th._C._is_tracing() or _is_transformed()


def is_exporting() -> bool:
    """
    Tell whether a model is being exported, which will run without this package.

    :return: True inside ``th.jit.trace``, ``th.export`` and both of ``th.onnx.export``'s exporters
    """
    return th.compiler.is_exporting() or (not th.compiler.is_compiling() and th._C._is_tracing())


def operations_are_watched() -> bool:
    """
    Tell whether torch's operations are counted, traced or transformed.

    :return: True where they are traced, inside dispatch modes and function modes, and under global module hooks
    """
    return (
        operations_are_traced() or is_in_torch_dispatch_mode() or _is_in_function_mode() or bool(_has_any_global_hook())
    )


def _is_transformed() -> bool:
    if th._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0:
        return True
    if not is_in_torch_dispatch_mode():
        return False
    modes = th._C._TorchDispatchModeKey
    return any(th._C._get_dispatch_mode(key) is not None for key in (modes.FAKE, modes.PROXY, modes.FUNCTIONAL))


def _is_in_function_mode() -> bool:
    # th.device as a context, and th.set_default_device, are function modes that do not observe.
    if th._C._len_torch_function_stack() == 0:
        return False
    return any(not isinstance(mode, DeviceContext) for mode in _get_current_function_mode_stack())
