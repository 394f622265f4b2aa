"""Batched lip-sync for other programs, over gRPC: frames from chunks of sound, many callers in the same batches."""
