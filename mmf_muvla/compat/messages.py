"""Messages to the run's log, in either version of MMF."""

from __future__ import annotations

from mmf_muvla.terminal import printable


def log_message(message: str, level: str = "info") -> None:
    """Write to MMF's log where a run has one: rc10 keeps a writer of its own in its registry, main a plain logger."""
    from mmf.common.registry import registry

    message = printable(message, keep="\n")
    writer = registry.get("writer", no_warning=True)
    if hasattr(writer, "write"):
        writer.write(message, level)
    elif writer is not None:
        getattr(writer, level)(message)
