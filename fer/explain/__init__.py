"""What a network's answer to a face rests on: Grad-CAM, occlusion, and the distinct neurons that answer."""

from fer.explain.page import write_explanation
from fer.explain.photo import Explanation, distinctness_of, explain_photo

__all__ = ["Explanation", "distinctness_of", "explain_photo", "write_explanation"]
