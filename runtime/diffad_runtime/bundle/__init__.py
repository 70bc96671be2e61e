"""The bundle: one .diffad file with everything that a device needs to judge parts.

container.py    bytes <-> named members; one canonical form, so that every byte of the file counts
protobuf.py     the wire format of protobuf, read strictly
onnxscan.py     where tensors can hide in ONNX, just enough to refuse data kept outside the file
onnxgraph.py    nodes, weights and sizes of a graph
onnxcall.py     one operator and what it is given
onnxshapes.py   how large the values become that it computes
onnxlimits.py   what it may ask of an engine
golden.py       frames with their known answer, there and back
strictjson.py   JSON without NaN, duplicate keys or surprises
reader.py       open_bundle: verify all, then hand out members
writer.py       write_bundle: whole or not at all, checked before it gets its name
"""

from diffad_runtime.bundle.golden import GoldenFrame, golden_members
from diffad_runtime.bundle.reader import Bundle, open_bundle
from diffad_runtime.bundle.writer import describe_members, write_bundle, write_signed

__all__ = ["Bundle", "GoldenFrame", "describe_members", "golden_members", "open_bundle", "write_bundle", "write_signed"]
