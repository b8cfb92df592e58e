"""Batch norms of one process in place of those of all."""

from trainwright.model.norms import revert_sync_batchnorm

__all__ = ["revert_sync_batchnorm"]
