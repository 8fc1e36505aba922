"""Precisions of the matrix products, and the processor's support of them."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch as th

from sb3_spiking.notices import warn_once

PRECISIONS: dict[str, th.dtype | None] = {"float32": None, "bfloat16": th.bfloat16}
"""Name of a precision -> type that the weights of the products are rounded to; None for no rounding."""

INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""torch's names of instructions on bfloat16, of x86 and of Arm."""


@cache
def has_bfloat16() -> bool | None:
    """Tell whether the processor has instructions for products in bfloat16; None where torch cannot say."""
    # Some supported versions of torch lack it.
    capabilities: Mapping[str, Any] = getattr(th.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in INSTRUCTIONS) if capabilities else None


def warn_where_emulated() -> None:
    """Warn, once in a process, where the processor has no instructions for products in bfloat16."""
    if has_bfloat16() is False:
        warn_once(
            "precision='bfloat16' is slower than 'float32' on this processor, which has no instructions for it "
            f"({', '.join(INSTRUCTIONS)})",
        )
