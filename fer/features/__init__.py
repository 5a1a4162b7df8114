"""Hand-crafted descriptors of grey images: local phase quantisation (LPQ) and oriented gradients (PHOG)."""

from fer.features.lpq import lpq, lpq_codes
from fer.features.phog import phog

__all__ = ["lpq", "lpq_codes", "phog"]
