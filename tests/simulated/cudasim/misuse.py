"""What a wrong program gets.

Knows that nobody must swallow it. Does not know any rule.
"""


class Misuse(AssertionError):  # noqa: N818  a fault of the program under test, not an error that it could handle
    """The real libraries would have crashed, corrupted memory, leaked, or given wrong data.

    It is no error of CUDA's or TensorRT's, so `except cuda.Error` does not catch it; and the machine remembers it, for
    those who catch everything.
    """
