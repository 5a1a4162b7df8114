"""What the hidden neurons of a facial emotion recognition network do, and which are needed."""

__version__ = "0.1.0"
