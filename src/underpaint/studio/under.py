"""Under a path: Gradio's page looks for its manifest and its icon at the root of the host, which may be another's."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

REWRITTEN = {
    b'href="/manifest.json"': b'href="./manifest.json"',
    b"</head>": b'<link rel="icon" href="./favicon.ico"></head>',
}


class Under:
    """Wraps an ASGI application: the page's own addresses become relative to it.

    Args:
        app: what serves the page.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != f"{scope.get('root_path', '')}/":
            await self.app(scope, receive, send)
            return
        begun, body = list[Message](), bytearray()

        async def rewritten(message: Message) -> None:
            if message["type"] == "http.response.start":
                begun.append(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            text = bytes(body)
            for absolute, relative in REWRITTEN.items():
                text = text.replace(absolute, relative, 1)
            kept = [(name, value) for name, value in begun[0]["headers"] if name.lower() != b"content-length"]
            await send(dict(begun[0]) | {"headers": [*kept, (b"content-length", str(len(text)).encode())]})
            await send({"type": "http.response.body", "body": text})

        await self.app(scope, receive, rewritten)
