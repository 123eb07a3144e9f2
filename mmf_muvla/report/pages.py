"""Pages of HTML, each of one template under ``report/templates/``."""

from __future__ import annotations

from typing import Any

import jinja2


def render(template: str, **values: Any) -> str:
    """A page, self-contained; values are text in it unless the template says otherwise, and none may be missing."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mmf_muvla.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment.get_template(template).render(**values)
