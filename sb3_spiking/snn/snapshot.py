"""Snapshots of modules: cheap to compare, so that what was computed from modules once is never used too long."""

from collections.abc import Iterable
from itertools import chain
from operator import is_
from typing import Any

import torch as th
from torch import nn

Setting = tuple[dict[str, Any], str]
"""A dictionary and a key that it may have."""


class Snapshot:
    """
    Snapshot of the submodules, parameters and buffers of modules, of their memory, and of settings.

    Objects are compared by identity, and kept alive, so that no other object has their place. The loops over them run
    in C: they take less time than one operation of torch.

    :param modules: modules; not their submodules, unless these are listed too
    :param settings: dictionaries and keys, such as attributes of modules
    """

    def __init__(self, modules: Iterable[nn.Module], settings: Iterable[Setting] = ()) -> None:
        modules, settings = list(modules), list(settings)
        self._owners: list[dict[str, Any]] = [
            owner for module in modules for owner in (module._modules, module._parameters, module._buffers)
        ]
        self._contents = [*chain.from_iterable(map(dict.values, self._owners))]
        self._identities = [*map(id, self._contents)]
        self._dictionaries = [dictionary for dictionary, _ in settings]
        self._names = [name for _, name in settings]
        self._settings = [*map(dict.get, self._dictionaries, self._names)]
        self._hooks = [
            hooks
            for module in modules
            for hooks in (
                module._forward_hooks,
                module._forward_pre_hooks,
                module._backward_hooks,
                module._backward_pre_hooks,
            )
        ]
        self.tensors = [content for content in self._contents if isinstance(content, th.Tensor)]
        self._layouts = [*map(_layout, self.tensors)]

    def holds(self) -> bool:
        """Tell whether the modules have the same parts, in the same memory, and the settings are the same objects."""
        return (
            [*map(id, chain.from_iterable(map(dict.values, self._owners)))] == self._identities
            and all(map(is_, map(dict.get, self._dictionaries, self._names), self._settings))
            and [*map(_layout, self.tensors)] == self._layouts
        )

    def is_hooked(self) -> bool:
        """Tell whether hooks observe a module."""
        return any(self._hooks)


def _layout(tensor: th.Tensor) -> tuple[Any, ...]:
    """Return the place, sizes, strides and type of a tensor, which ``.data`` may change one by one."""
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype
