"""The classes around a model that are no part of it."""

from __future__ import annotations

from torch.nn.parallel import DataParallel, DistributedDataParallel

from trainwright.compat.mmcv1.utils.registry import Registry

MODULE_WRAPPERS = Registry("module wrapper")
MODULE_WRAPPERS.register_module(module=DataParallel)
MODULE_WRAPPERS.register_module(module=DistributedDataParallel)
