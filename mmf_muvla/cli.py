"""The former place of :func:`mmf_muvla.options.kinds.as_list`."""

from mmf_muvla.options.kinds import as_list

__all__ = ["as_list"]
