"""Descriptors of grey images, computed by rule: local phase quantisation and oriented gradients."""

from fer.features.lpq import lpq, lpq_codes
from fer.features.phog import phog

__all__ = ["lpq", "lpq_codes", "phog"]
