"""What a network's answer to a face rests on: Grad-CAM, occlusion, and the distinct neurons that answer."""

from fer.explain.page import write_explanation
from fer.explain.photo import Explanation, angles_of, explain_photo

__all__ = ["Explanation", "angles_of", "explain_photo", "write_explanation"]
