"""Serves the page to this machine alone: nothing is asked of, or told to, any other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from mmf_muvla.errors import InputError
from mmf_muvla.report.pages import render

# What a browser may load: only what this server sends. Gradio's own scripts are inline, and make functions of text.
_POLICY = b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"
_Message = MutableMapping[str, Any]


class OwnContentOnly:
    """Has browsers refuse whatever the page would fetch from elsewhere, as Starlette's middleware."""

    def __init__(self, app: Callable[..., Awaitable[None]]):
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Callable[[_Message], Awaitable[None]]) -> None:
        async def send_with_policy(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"content-security-policy", _POLICY)]
            await send(message)

        await self._app(scope, receive, send_with_policy)


def launch(page: gr.Blocks, host: str, port: int | None) -> str:
    """Start to serve a page, and return its address; the server is a thread, which ``page.close()`` ends.

    Raises:
        InputError: the port is taken, or there is no such address here.
    """
    # Names, not gr.themes.GoogleFont: the browser's own fonts.
    theme = gr.themes.Default(
        primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            footer_links=[],
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            theme=theme,
            css=render("app.css.j2"),
            app_kwargs={"middleware": [Middleware(OwnContentOnly)]},
        )
    except OSError as error:
        where = f"host={host}" if port is None else f"host={host} port={port}"
        raise InputError(where, f"the page cannot be served there ({error})", "Give another port=, or none") from error
    return address
