"""Sound as 40 ms chunks: constants, cutting, resampling, features and the voice gate."""
