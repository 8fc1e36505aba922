"""Constants of a network, saved beside its weights and compared when these are loaded: equal shapes are not enough."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import nn

KEY = "constants"


class SavesConstants(nn.Module):
    """
    Module that writes its constants into the metadata of a ``state_dict``, and refuses weights learnt with others.

    The keys of the ``state_dict`` stay the same. Files without these metadata, and plain dicts of tensors, are loaded
    without the check.
    """

    @abstractmethod
    def constants(self) -> dict[str, Any]:
        """Return the constants, names, numbers and lists by the name of their argument."""

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]][KEY] = self.constants()

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        error_msgs += _differences(self, local_metadata)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


def check_constants(module: nn.Module, state_dict: Mapping[str, Any]) -> None:
    """
    Refuse weights of another network before any of them is loaded.

    :param module: module that would load them
    :param state_dict: result of a module's ``state_dict``
    :raises RuntimeError: if a constant differs; the message names it
    """
    metadata = getattr(state_dict, "_metadata", {})
    for path, part in module.named_modules():
        if isinstance(part, SavesConstants):
            differences = _differences(part, metadata.get(path, {}))
            if differences:
                raise RuntimeError(differences[0])


def _differences(module: SavesConstants, local_metadata: Mapping[str, Any]) -> list[str]:
    own, saved = module.constants(), local_metadata.get(KEY, {})
    names = [name for name in own if name in saved and saved[name] != own[name]]
    if not names:
        return []
    theirs, ours = (", ".join(f"{name}={values[name]!r}" for name in names) for values in (saved, own))
    return [
        f"these weights were learnt with {theirs}, and this {type(module).__name__} has {ours}: the shapes are equal, "
        "what they compute is not. Make the model with the same policy_kwargs; to transfer weights on purpose, load "
        "them as a plain dict: policy.load_state_dict(dict(state_dict))"
    ]
