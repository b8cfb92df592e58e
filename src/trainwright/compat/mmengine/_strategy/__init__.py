"""What mmengine._strategy exports: strategies."""

from trainwright.compat.mmengine.mirror import mirror

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".base": "BaseStrategy",
        ".colossalai": "ColossalAIStrategy",
        ".deepspeed": "DeepSpeedStrategy",
        ".distributed": "DDPStrategy",
        ".single_device": "SingleDeviceStrategy",
        ".fsdp": "FSDPStrategy",
    },
    modules="base colossalai deepspeed distributed fsdp single_device utils",
)
