"""What a rule has to say about a graph. Knows no rule."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One breach of one rule.

    Attributes:
        rule: name of the rule, as in "uint8-activations".
        where: the node or tensor, "graph" where it is the whole.
        what: what was found, with expected against got.
        mend: what to do about it.
    """

    rule: str
    where: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.rule} at {self.where}: {self.what}"
