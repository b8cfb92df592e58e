"""Names of mmengine.registry.utils."""

from trainwright.registry.scope import init_default_scope
from trainwright.registry.survey import count_registered_modules, traverse_registry_tree

__all__ = ["count_registered_modules", "init_default_scope", "traverse_registry_tree"]
