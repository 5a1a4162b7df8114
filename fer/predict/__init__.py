"""Find faces in photos and videos, and predict their classes with a trained network.

NumPy and OpenCV suffice; torch is imported only for a checkpoint and for MTCNN.
"""

from fer.predict.preprocessing import Preprocessing
from fer.predict.recognizer import Face, Recognizer

__all__ = ["Face", "Preprocessing", "Recognizer"]
