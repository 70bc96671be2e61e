"""The networks: a teacher that knows every noise level, a student that folds to plain convolutions."""
