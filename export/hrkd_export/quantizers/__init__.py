"""fp32 ONNX to smaller number formats, one module per way."""
