"""Policies handed in as files."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from workers.api import models
from workers.api.access import Submitter, Visitor
from workers.uploads import UPLOAD, keep_upload

router = APIRouter(tags=["work"])

_ZIP = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}, "required": True}


@router.post("/uploads", response_model=models.Upload, status_code=201, openapi_extra={"requestBody": _ZIP})
async def upload(visitor: Submitter, request: Request) -> models.Upload:
    """A cloned policy as a zip of `config.json` and `weights.safetensors`, to be submitted as `upload:SHA256`."""
    with tempfile.TemporaryDirectory(prefix="upload-") as folder:
        archive = Path(folder) / "upload.zip"
        # As it comes, to the disk: what may be larger than memory never is in it. `BodyLimit` ends it where it must.
        with archive.open("wb") as out:
            async for chunk in request.stream():
                out.write(chunk)
        return await run_in_threadpool(_keep, visitor, archive)


def _keep(visitor: Visitor, archive: Path) -> models.Upload:
    server = visitor.server
    sha256, size = keep_upload(archive, server.artifacts)
    server.store.accounts.note("policy_uploaded", str(visitor.name), {"sha256": sha256, "bytes": size})
    return models.Upload(policy=f"{UPLOAD}:{sha256}", sha256=sha256, size=size)
