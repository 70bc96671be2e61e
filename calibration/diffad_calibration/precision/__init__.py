"""From FP32 graphs to what each backend accepts.

ranges/          one pass over frames: a histogram for every tensor, and the ranges that estimators take from it
placement        which nodes take another precision; the range guard of FP16
recipes, half    INT8 in QDQ form for CPU and TensorRT, FP16, both mixed
biascorrection   what rounding adds to a channel's mean
variants         the table of variants; all of them from one pass, and each again from its record (variantrecord)
sensitivity      what rounding one layer does
coverage, int8ranges, truehalf    what a graph really computes
onnxfile         graphs as bytes; quantise: one graph to INT8 in one call
"""
