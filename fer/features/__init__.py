"""Descriptors of grey images, computed by rule, and the principal components that a small network takes."""

from fer.features.components import Components
from fer.features.lpq import lpq, lpq_codes
from fer.features.phog import phog

__all__ = ["Components", "lpq", "lpq_codes", "phog"]
