"""Explain a network's prediction for a face: Grad-CAM, occlusion, and the distinct neurons that respond."""

from fer.explain.page import write_explanation
from fer.explain.photo import Explanation, distinctness_of, explain_photo

__all__ = ["Explanation", "distinctness_of", "explain_photo", "write_explanation"]
