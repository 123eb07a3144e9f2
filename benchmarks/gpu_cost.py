"""How long the paper's pre-training takes on how many GPUs, and what that costs, from the speed of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

# The paper's pre-training: 20 passes over the images of Conceptual Captions that can still be had.
IMAGES, EPOCHS, BATCH = 3_000_000, 20, 480
PAPER_HOURS = 72.0  # on four A100, with the authors' code
# Updates of all GPUs together wait for the gradients: a share of the speed that they have one by one.
SCALING = 0.9


@dataclass(frozen=True)
class Machine:
    """GPUs, with dense bf16 products by the datasheet, in TFLOP/s, and the price of one for an hour."""

    name: str
    gpus: int
    tflops: float
    dollars_per_gpu_hour: float


MACHINES = (Machine("4 x A100 40 GB", 4, 312.0, 1.50), Machine("8 x H100", 8, 989.0, 3.00))
# The datasheets' rates of cards that a measurement may come from.
DATASHEET = {"A100": 312.0, "H100": 989.0, "H200": 989.0}


@dataclass(frozen=True)
class Cost:
    hours: float
    gpu_hours: float
    dollars: float


def cost(samples_per_s: float, machine: Machine, measured_on: str, images: int = IMAGES, epochs: int = EPOCHS) -> Cost:
    """The time and the price of a pre-training.

    Args:
        samples_per_s: of one GPU, for all views of a sample.
        machine: where it is to run.
        measured_on: the card's name; on another kind of GPU the speed is taken to be in proportion to the datasheets'
            products. A card without a known rate is taken for the machine's own.
    """
    rate = next((value for kind, value in DATASHEET.items() if kind in measured_on), machine.tflops)
    together = samples_per_s * machine.tflops / rate * machine.gpus * SCALING
    hours = images * epochs / together / 3600
    return Cost(hours, hours * machine.gpus, hours * machine.gpus * machine.dollars_per_gpu_hour)


def cost_report(speeds: Mapping[int, float], measured_on: str) -> dict[str, Any]:
    """The costs on all machines, and what they rest on; ``speeds`` are samples a second by the batch of a GPU."""
    machines = {}
    for machine in MACHINES:
        wanted = BATCH // machine.gpus
        batch = min(speeds, key=lambda size, wanted=wanted: (abs(size - wanted), size))
        it = cost(speeds[batch], machine, measured_on)
        machines[machine.name] = {"measured_with_batch": batch, **{k: round(v, 2) for k, v in asdict(it).items()}}
    return {
        "measured_on": measured_on,
        "machines": machines,
        "paper_hours_on_4_a100": PAPER_HOURS,
        "assumed": {
            "samples": f"{IMAGES:,} images x {EPOCHS} epochs, each with all three views",
            "batch_of_all_gpus": BATCH,
            "other_cards": f"speed in proportion to the datasheets' dense bf16 products, TFLOP/s: {DATASHEET}",
            "several_gpus": f"{SCALING:.0%} of their speeds one by one; not measured",
            "loader": "keeps up",
            "dollars_per_gpu_hour": {it.name: it.dollars_per_gpu_hour for it in MACHINES},
        },
    }
