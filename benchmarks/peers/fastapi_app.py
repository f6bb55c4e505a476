"""The same as a FastAPI application, in the form that is fastest there: asynchronous, typed body, typed answer."""

import uuid

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.peers.scoring import Flights

FLIGHTS = Flights()
Row = FLIGHTS.row
app = FastAPI()


class Request(BaseModel):
    """Rows to score."""

    rows: list[Row]  # type: ignore[valid-type]


class Prediction(BaseModel):
    """One answer."""

    prediction_id: str
    probability: float
    decision: bool
    model_version: str


class Answer(BaseModel):
    """One prediction a row."""

    predictions: list[Prediction]


@app.get("/readyz")
async def readyz() -> bool:
    """Ready as soon as it listens."""
    return True


@app.post("/predict")
async def predict(request: Request) -> Answer:
    """Score rows."""
    return Answer(
        predictions=[
            Prediction(prediction_id=uuid.uuid4().hex, probability=p, decision=FLIGHTS.decide(p), model_version="peer")
            for p in FLIGHTS.score(request.rows)
        ]
    )
