"""What computes networks: torch, onnxruntime, OpenVINO."""
