"""The strategy that docs/conformance.md asks."""

from trainwright.registry import STRATEGIES
from trainwright.strategies import SingleDeviceStrategy


@STRATEGIES.register_module()
class MyStrategy(SingleDeviceStrategy):
    def __init__(self, depth: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.depth = depth
