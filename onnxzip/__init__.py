"""Smaller, faster ONNX models, proven on real data to do what the original did."""

__version__ = "0.1.0"
