"""Requests for speech become batches: a queue, and processes that speak."""
