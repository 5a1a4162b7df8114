"""Answers for people: faces in photos and videos with what a trained network makes of them.

NumPy and OpenCV do; torch is imported for a checkpoint and for MTCNN alone.
"""

from fer.predict.preprocessing import Preprocessing
from fer.predict.recognizer import Face, Recognizer

__all__ = ["Face", "Preprocessing", "Recognizer"]
