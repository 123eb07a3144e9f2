"""mmf-muvla: unsupervised vision-and-language pre-training by retrieval-based multi-granular alignment, for MMF.

``from mmf_muvla import load`` gives a trained model to be asked (:mod:`mmf_muvla.interface`, ``docs/python.md``).

Name this package as MMF's user directory (``env.user_dir: mmf_muvla``) and MMF knows the model ``muvla``, its data
sets, losses, metrics, scheduler and trainer.

This file runs at the start of every interpreter of the environment (see :mod:`mmf_muvla.compat`): it imports nothing.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmf_muvla.interface import ImageRegions, Model, MuvlaConfig, MuvlaModel, load

_INTERFACE = ("ImageRegions", "Model", "MuvlaConfig", "MuvlaModel", "load")


def __getattr__(name: str) -> object:
    """The Python interface, imported when it is first asked for; from then on ``transformers`` knows its models."""
    if name not in _INTERFACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import mmf_muvla.interface

    return getattr(mmf_muvla.interface, name)


def register_with_mmf() -> None:
    """Tell MMF's registry about everything in this project; called when MMF imports its user directory."""
    import mmf_muvla.datasets.builders
    import mmf_muvla.datasets.tasks.registered
    import mmf_muvla.models.muvla
    import mmf_muvla.objectives.matching_metric
    import mmf_muvla.trainers.schedule
    import mmf_muvla.trainers.trainer
