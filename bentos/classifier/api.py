"""Everything that a client can ask: ``/predict``, ``/labels``, and the pages and figures around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from bentos.classifier import bento_client, metrics, seal
from bentos.classifier.bulk import Bulk
from bentos.classifier.labels import Labels
from bentos.classifier.mlflow import PATHS as MLFLOW_PATHS
from bentos.classifier.mlflow import MLflow
from bentos.classifier.openapi import PAGE, document
from bentos.classifier.predict import MAX_BODY_BYTES, MAX_ROWS, Predict
from bentos.classifier.problems import JSON
from bentos.classifier.tfserving import TensorFlowServing
from bentos.classifier.v2 import OpenInference

# src/bentos/classifier/api.py -> src
ROOT = Path(__file__).resolve().parents[2]


def create_app(root: Path = ROOT) -> Starlette:
    """The application; it loads the model under `root` when the server starts, not before.

    Its endpoint for predictions is ``app.state.predict``; ``app.state.direct`` gives that of the other protocols for a
    path, and None for the pages.
    """
    predict = Predict()

    @asynccontextmanager
    async def ready(_: Starlette) -> AsyncIterator[None]:
        seal.require_once(root)
        predict.load(root)
        try:
            yield
        finally:
            await bulk.close()
            labels.close()
            predict.close()

    labels = Labels(predict)
    open_inference, tf_serving, bulk = OpenInference(predict), TensorFlowServing(predict), Bulk(predict, root)
    mlflow = MLflow(predict)
    routes: list[BaseRoute] = [
        Route("/predict", predict),
        Route("/labels", labels),
        Route("/bulk", bulk),
        Route("/v2", open_inference),
        Route("/v2/{path:path}", open_inference),
        Route("/v1/models/{path:path}", tf_serving),
        *(Route(path, mlflow) for path in MLFLOW_PATHS),
        Route("/docs", docs),
        # Under `bentoml serve` BentoML answers this one, and knows no endpoint.
        Route(bento_client.PATH, schema),
        Route("/openapi.json", openapi),
        # Under `bentoml serve` BentoML answers this one, with the same series and its own.
        Route("/metrics", metrics.page),
        Route("/", lambda _: RedirectResponse("docs")),
    ]
    app = Starlette(routes=routes, lifespan=ready)
    app.state.predict = predict

    def direct(path: str) -> ASGIApp | None:
        if path == "/bulk":
            return bulk
        if path == "/labels":
            return labels
        if path in MLFLOW_PATHS:
            return mlflow
        if path == bento_client.PATH:
            return app  # BentoML has a page of this name in front of it
        if path.startswith("/v2/") or path == "/v2":
            return open_inference
        return tf_serving if path.startswith("/v1/models/") else None

    app.state.direct = direct
    return app


async def docs(_: Request) -> Response:
    """The page that describes the API; all it needs is served from here."""
    return HTMLResponse(PAGE)


async def schema(request: Request) -> Response:
    """The description that BentoML's clients read."""
    predict: Predict = request.app.state.predict
    found = bento_client.schema(predict.scorer.dataset.name, predict.body)
    return Response(orjson.dumps(found), 200, {"x-model-version": predict.scorer.version}, JSON)


async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    predict: Predict = request.app.state.predict
    spec = document(predict.scorer, predict.body, MAX_ROWS, MAX_BODY_BYTES)
    return Response(orjson.dumps(spec), 200, {"x-model-version": predict.scorer.version}, JSON)
