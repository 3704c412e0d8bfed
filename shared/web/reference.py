"""The API reference as pages that need no network: Swagger UI and ReDoc from a package."""

import hashlib
import re
from base64 import b64encode
from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

ASSETS = "docs-assets"
_INLINE = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def install_reference(app: FastAPI) -> None:
    """Serve `/docs` and `/redoc`; every address on them is relative, so any mount will do."""
    app.mount(f"/{ASSETS}", StaticFiles(directory=str(files("fastapi_offline") / "static")))
    pages = {
        "/docs": get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS}/favicon.png",
        ),
        "/redoc": get_redoc_html(
            openapi_url="openapi.json",
            title=app.title,
            redoc_js_url=f"{ASSETS}/redoc.standalone.js",
            redoc_favicon_url=f"{ASSETS}/favicon.png",
            with_google_fonts=False,
        ),
    }
    for path, page in pages.items():
        _serve(app, path, page)


def _serve(app: FastAPI, path: str, page: HTMLResponse) -> None:
    body = bytes(page.body)
    headers = {"Content-Security-Policy": _policy(body)}

    @app.get(path, include_in_schema=False, name=f"page{path.replace('/', '_')}")
    async def show() -> HTMLResponse:
        return HTMLResponse(body, headers=headers)


def _policy(body: bytes) -> str:
    """Allow our own assets and the inline scripts of this very page, nothing else."""
    hashes = [
        f"'sha256-{b64encode(hashlib.sha256(script).digest()).decode()}'"
        for script in _INLINE.findall(body)
    ]
    return "; ".join(
        (
            "default-src 'self'",
            " ".join(["script-src 'self'", *hashes]),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "worker-src 'self' blob:",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        )
    )
