"""Inference: from inputs to predictions, pictures of them, and what the caller gets."""

from trainwright.infer.infer import BaseInferencer, InferencerMeta

__all__ = ["BaseInferencer", "InferencerMeta"]
