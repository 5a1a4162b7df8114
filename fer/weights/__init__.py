"""The network that ships with the package, with its preprocessing and its model card."""
