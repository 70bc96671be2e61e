"""A bundle as a model repository for NVIDIA's Triton Inference Server.

pbtxt.py        messages as protobuf's text, as config.pbtxt wants it
tensors.py      what a graph takes and gives, read from its ONNX file
config.py       the three models' configurations: extractor, reconstructor, and the ensemble that chains them
repository.py   write_repository: the folder, whole or not at all
readme.py       the README that goes with it
client.py       goes with it, too, as client/score.py: the same verdicts as `diffad-edge score`
"""

from diffad_calibration.triton.config import Placement
from diffad_calibration.triton.repository import TritonRepository, write_repository

__all__ = ["Placement", "TritonRepository", "write_repository"]
