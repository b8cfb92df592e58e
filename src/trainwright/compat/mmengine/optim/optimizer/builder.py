"""What mmengine.optim.optimizer.builder has: optimizers of other packages are registered, and imported when named."""

from trainwright.optim import optimizers
from trainwright.optim.constructor import build_optim_wrapper
from trainwright.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS

__all__ = [
    "BITSANDBYTES_OPTIMIZERS",
    "DADAPTATION_OPTIMIZERS",
    "LION_OPTIMIZERS",
    "NPU_OPTIMIZERS",
    "OPTIMIZERS",
    "OPTIM_WRAPPER_CONSTRUCTORS",
    "SOPHIA_OPTIMIZERS",
    "TORCH_OPTIMIZERS",
    "TRANSFORMERS_OPTIMIZERS",
    "build_optim_wrapper",
    "register_bitsandbytes_optimizers",
    "register_dadaptation_optimizers",
    "register_lion_optimizers",
    "register_sophia_optimizers",
    "register_torch_npu_optimizers",
    "register_torch_optimizers",
    "register_transformers_optimizers",
]


def register_torch_optimizers() -> list[str]:
    """Names in torch.optim, with the base of all its optimizers."""
    return sorted([*(name.removeprefix("Torch") for name in optimizers.TORCH_OPTIMIZERS), "Optimizer"])


def register_torch_npu_optimizers() -> list[str]:
    """None: no package for such a device is known here."""
    return []


def register_dadaptation_optimizers() -> list[str]:
    """Names of dadaptation's, if it is installed."""
    return optimizers.installed("dadaptation")


def register_lion_optimizers() -> list[str]:
    """The name of lion_pytorch's, if it is installed."""
    return optimizers.installed("lion_pytorch")


def register_sophia_optimizers() -> list[str]:
    """None: a package called Sophia registers its optimizers itself."""
    return []


def register_bitsandbytes_optimizers() -> list[str]:
    """Names of bitsandbytes', if it is installed."""
    return optimizers.installed("bitsandbytes")


def register_transformers_optimizers() -> list[str]:
    """The name of transformers', if it is installed."""
    return optimizers.installed("transformers")


TORCH_OPTIMIZERS = register_torch_optimizers()
NPU_OPTIMIZERS = register_torch_npu_optimizers()
DADAPTATION_OPTIMIZERS = register_dadaptation_optimizers()
LION_OPTIMIZERS = register_lion_optimizers()
SOPHIA_OPTIMIZERS = register_sophia_optimizers()
BITSANDBYTES_OPTIMIZERS = register_bitsandbytes_optimizers()
TRANSFORMERS_OPTIMIZERS = register_transformers_optimizers()
