"""The record of a run, rendered: a table for the console, JSON for machines. Knows records and nothing else."""

from onnxzip.report.report import Report

__all__ = ["Report"]
