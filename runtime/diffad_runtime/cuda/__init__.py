"""One GPU through pycuda: its primary context, buffers on both sides of it, and recorded work (CUDA graphs)."""
