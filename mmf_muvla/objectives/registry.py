"""What there is to learn: objectives, which make rows of input, and losses, which predict their targets.

A configuration names objectives. What they have targets for decides which losses are learned, so that heads, metrics
and the choice of the best checkpoint follow. To add one of your own, decorate a subclass of ``Objective`` by
``@register_objective``, or one of ``PretrainingLoss`` by ``@register_loss``, in a package that MMF imports.

Nothing here needs MMF: a model can be asked where it is not installed.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mmf_muvla.errors import InputError
from mmf_muvla.objectives.masking import MaskingConfig

if TYPE_CHECKING:
    from mmf_muvla.objectives.loss import PretrainingLoss
    from mmf_muvla.objectives.objective import Objective

OBJECTIVES: dict[str, Objective] = {}
LOSSES: dict[str, type[PretrainingLoss]] = {}
MMF_PREFIX = "muvla_"
# The heads of every model, in the order in which they are made: it decides the random numbers that they start from.
HEADS = ("mlm", "p_mrtc", "mrc", "mrfr", "itm")

_Objective = TypeVar("_Objective", bound="type[Objective]")
_Loss = TypeVar("_Loss", bound="type[PretrainingLoss]")


def register_objective(objective: _Objective) -> _Objective:
    """Make an objective known under its name: a decorator."""
    OBJECTIVES[objective.name] = objective()
    return objective


def register_loss(loss: _Loss) -> _Loss:
    """Make a loss known under its name, and to MMF as ``muvla_NAME``: a decorator."""
    LOSSES[loss.name] = loss
    if "mmf.common.registry" in sys.modules:  # else it waits for tell_mmf
        _tell_mmf(loss)
    return loss


def tell_mmf() -> None:
    """Make all losses known to MMF, those included that were registered before it was imported."""
    for loss in LOSSES.values():
        _tell_mmf(loss)


def _tell_mmf(loss: type[PretrainingLoss]) -> None:
    from mmf.common.registry import registry

    registry.register_loss(f"{MMF_PREFIX}{loss.name}")(loss)


def check_objectives(names: Sequence[str], where: str) -> tuple[str, ...]:
    """The objectives that the option ``where`` names.

    Raises:
        InputError: there are none, or one is unknown.
    """
    if not names or not set(names) <= set(OBJECTIVES):
        problem = f"{list(names)} is not a choice of objectives"
        raise InputError(where, problem, f"Choose at least one of {', '.join(OBJECTIVES)}")
    return tuple(names)


def targets_of(objectives: Iterable[str], masking: MaskingConfig) -> set[str]:
    """The losses that objectives together have targets for, by name."""
    return {loss for name in objectives for loss in OBJECTIVES[name].predicts(masking)}


def learned(
    objectives: Sequence[str], masking: MaskingConfig, losses: Sequence[str] | None = None
) -> tuple[list[str], list[str]]:
    """What a system learns, and what tells how well: MMF's names of its losses and of its metrics.

    ``losses`` are MMF's names, where they are not all that the objectives have targets for.
    """
    targets = targets_of(objectives, masking)
    if losses is None:
        losses = [f"{MMF_PREFIX}{name}" for name in LOSSES if name in targets]
    known = [LOSSES[name] for loss in losses if (name := loss.removeprefix(MMF_PREFIX)) in LOSSES]
    return [*losses], [loss.metric for loss in known if loss.metric and loss.head_name() in targets]


def view_of_row(row: str) -> int:
    """The number of the objective that makes rows of this name."""
    return next(number for number, objective in enumerate(OBJECTIVES.values()) if row in objective.rows)


def heads_of(losses: Iterable[str | Mapping[str, Any]]) -> set[str]:
    """The heads that losses of a configuration read; one that is not registered here may read any."""
    names = {(loss if isinstance(loss, str) else loss["type"]).removeprefix(MMF_PREFIX) for loss in losses}
    if not names <= set(LOSSES):
        return {*HEADS}
    return {LOSSES[name].head_name() for name in names}


def heads_are_left_out(
    losses: Iterable[str | Mapping[str, Any]], targets: Collection[str], share_vocabulary_head: bool = False
) -> bool:
    """Whether there are heads in the model that no loss trains, for want of the loss or of targets."""
    read = heads_of(losses)
    trained, shared = read & set(targets), {"mlm", "p_mrtc"}
    if share_vocabulary_head and trained & shared:
        trained |= shared
    return bool({*HEADS, *read} - trained)
