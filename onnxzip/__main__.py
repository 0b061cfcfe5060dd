"""`python -m onnxzip` is the `onnxzip` command."""

from onnxzip.cli.main import main

main()
