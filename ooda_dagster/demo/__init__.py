"""The demonstration: an inference service under live traffic, with planted problems, and the whole loop on it."""
