"""The former place of :func:`mmf_muvla.terminal.log_message`."""

from mmf_muvla.terminal import log_message

__all__ = ["log_message"]
