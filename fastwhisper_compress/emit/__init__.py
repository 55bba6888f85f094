"""Checkpoints to ONNX graphs, written node by node."""
