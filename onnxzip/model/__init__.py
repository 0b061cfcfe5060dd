"""The model in memory: loading, saving, its interface as a value, constants, shapes and safe edits, all over `onnx_ir`."""
