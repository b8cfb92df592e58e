"""Seeding of loader workers."""

from trainwright.data.workers import worker_init_fn

__all__ = ["worker_init_fn"]
