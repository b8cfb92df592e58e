"""Classes whose instances are found by name."""

from trainwright.base.instances import ManagerMeta, ManagerMixin

__all__ = ["ManagerMeta", "ManagerMixin"]
