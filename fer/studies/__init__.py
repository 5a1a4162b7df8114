"""Many runs as one: cross-validation."""
