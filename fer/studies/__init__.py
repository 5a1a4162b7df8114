"""Many runs as one: cross-validations, repeats with several seeds, and sweeps."""
