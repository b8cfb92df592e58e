"""A pipeline of transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trainwright.base.errors import ConfigTypeError
from trainwright.registry import TRANSFORMS


@TRANSFORMS.register_extra
class Compose:
    """Applies transforms in order. One that returns None ends the pipeline with None: the sample is to be dropped.

    `transforms`: callables, or configs of the TRANSFORMS registry.
    """

    def __init__(self, transforms: Sequence[dict[str, Any] | Callable[..., Any]] | None) -> None:
        self.transforms: list[Callable[..., Any]] = []
        for n, transform in enumerate(transforms or ()):
            built = TRANSFORMS.build(transform) if isinstance(transform, dict) else transform
            if not callable(built):
                raise ConfigTypeError(
                    f"transform {n} of the pipeline must be callable or a dict with the key 'type', got {built!r}"
                )
            self.transforms.append(built)

    def __call__(self, data: Any) -> Any:
        for transform in self.transforms:
            data = transform(data)
            if data is None:
                return None
        return data

    def __repr__(self) -> str:
        lines = "".join(f"    {transform!r}\n" for transform in self.transforms)
        return f"{type(self).__name__}(\n{lines})"
