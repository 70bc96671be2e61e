"""Hostile input for everything that comes from outside: made from a seed, run under watch, told by layer.

wire.py        protobuf as a tree that may be written wrongly; a small writer of ONNX
bases.py       small inputs that are valid: a bundle, a recipe, an archived session
octets.py      bytes: flips, splices, cuts, numbers that matter
jsontree.py    JSON as a tree that may be written wrongly
zips.py        the container with any record wrong and all others right
onnxes.py      graphs: any field wrong
heavy.py       graphs that ask an engine for too much
pictures.py    PNG chunks with right checksums
tomls.py       recipes
kind.py        what a kind of input is
kinds.py       one maker a kind of bundle: (random numbers) -> input
entrances.py   the same for every other entrance
targets.py     what is done with an input, as a device would
watch.py       what happened meanwhile: errors, files, memory, time
campaign.py    many of them, counted
enginechild.py the same with onnxruntime, in a process that may die
"""
