"""What the gate answers where it does not do what it is asked: one sentence as text, and never what it was sent."""

from __future__ import annotations

import json

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException

from modelpack.errors import ModelpackError


def add_refusals(app: FastAPI) -> None:
    """Answer in sentences: 422 for what cannot be read, 503 for our own errors. FastAPI's own answer repeats the body,
    and breaks over a number that JSON does not have."""

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> Response:
        return PlainTextResponse(_sentence(error) + "\n", 422)

    @app.exception_handler(StarletteHTTPException)
    async def _refused(_: Request, error: StarletteHTTPException) -> Response:
        return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)

    @app.exception_handler(ModelpackError)
    async def _failed(_: Request, error: ModelpackError) -> Response:
        return PlainTextResponse(f"{error}\n", 503)


def _sentence(error: RequestValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first.get("loc", ()) if part != "body")
    problem = str(first.get("msg", "is not valid"))
    text = f"{place or 'the body'}: {problem[:1].lower()}{problem[1:]}"
    return json.dumps(text)[1:-1][:500]
