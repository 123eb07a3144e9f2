"""What a model took from a checkpoint, and what it did not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LoadReport:
    """What was taken from a checkpoint, by tensor name.

    Attributes:
        loaded: tensors taken.
        missing: tensors of the model that the checkpoint lacks; they keep their initial values.
        mismatched: tensors of another shape in the checkpoint; not taken.
        unused: tensors of the checkpoint that the model lacks.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        for title, names in (
            ("not in the checkpoint", self.missing),
            ("of another shape", self.mismatched),
            ("not in the model", self.unused),
        ):
            if names:
                parts.append(f"{len(names)} {title}: {', '.join(_modules(names))}")
        return "; ".join(parts)


def _modules(names: tuple[str, ...]) -> list[str]:
    """Tensor names without their last part, each once: shorter to read."""
    return sorted({name.rpartition(".")[0] for name in names})
