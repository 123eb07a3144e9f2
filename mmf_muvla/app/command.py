"""The command behind ``tools/app.py``: models are loaded, and a page to ask them is served."""

from __future__ import annotations

import importlib.util
import os
import signal
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from mmf_muvla.errors import InputError
from mmf_muvla.options.kinds import Count, Name, Options, Paths, Whole
from mmf_muvla.options.reading import read_options
from mmf_muvla.terminal import printable

if TYPE_CHECKING:
    from mmf_muvla.app.shelf import Shelf
    from mmf_muvla.interface import Model

Port = Annotated[Whole, Field(ge=1, le=65535)]


@dataclass
class AppOptions(Options):
    """The options of the command, which says what they mean."""

    model: Paths
    regions: Name | None = None
    images: Name | None = None
    detector: Name | None = None
    top_k: Count = 5
    host: Name = "127.0.0.1"
    port: Port | None = None
    device: Name = "auto"
    dtype: Name = "float32"


def app_command(arguments: Sequence[str]) -> None:
    """``model=PATH [regions=PATH] [detector=NAME] …``: serve a page that asks trained models, until it is stopped.

    Raises:
        InputError: an option or an input cannot be used, no picture could be chosen, or Gradio is not installed.
    """
    options = read_options(AppOptions, arguments)
    from mmf_muvla.report.pictures import check_pictures

    check_pictures(options.images, options.regions)
    if importlib.util.find_spec("gradio") is None:
        raise InputError("tools/app.py", "needs Gradio, which is not installed", 'Install it: pip install ".[app]"')
    models, shelf = open_models(options)
    with tempfile.TemporaryDirectory(prefix="muvla_app_") as folder:
        # Gradio reads both when it is imported: where uploads and pictures are put, and that nothing is reported.
        os.environ["GRADIO_TEMP_DIR"] = folder
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        from mmf_muvla.app.page import build_page

        _serve(build_page(models, shelf, options.top_k), options)


def open_models(options: AppOptions) -> tuple[list[Model], Shelf | None]:
    """The models, and the images to choose from where there are any.

    Raises:
        InputError: one of them cannot be loaded, they are of different detectors, or no picture could be chosen.
    """
    from mmf_muvla.app.shelf import SIDE, Shelf
    from mmf_muvla.interface import load
    from mmf_muvla.report.pictures import Pictures

    pictures = Pictures(options.images, SIDE) if options.images else None
    if pictures and pictures.is_link:
        raise InputError(f"images={options.images}", "is an address, and the page asks nobody else", "Name a folder")
    names = list(dict.fromkeys(options.model if isinstance(options.model, list) else [options.model]))
    models = [load(it, device=options.device, dtype=options.dtype, detector=options.detector) for it in names]
    for model in models[1:]:
        sizes = model.config.feature_dim, models[0].config.feature_dim
        if sizes[0] != sizes[1]:
            problem = f"reads region features of size {sizes[0]}, {models[0].name} of size {sizes[1]}"
            raise InputError(model.name, problem, "Give models of one detector, or start the page once for each")
    if options.regions is None and not any(it.can_detect for it in models):
        problem = "not given, and which detector finds regions in pictures is not known"
        raise InputError("regions", problem, "Give regions=FOLDER, a region store to choose from, or detector=NAME")
    return models, None if options.regions is None else Shelf(models[0].regions(options.regions), pictures)


def _serve(page: Any, options: AppOptions) -> None:
    """Serve a page until Ctrl-C or a signal to end."""
    from mmf_muvla.app.serving import launch

    ended = threading.Event()
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        address = launch(page, options.host, options.port)
        print(printable(f"{address}  (Ctrl-C ends it)"), flush=True)
        ended.wait()
    finally:
        page.close(verbose=False)
        for number, handler in before.items():
            signal.signal(number, handler)
