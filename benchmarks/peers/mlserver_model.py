"""The same as an MLServer runtime. The protocol has no null, so a row travels as JSON text, an element of a tensor."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.scoring import Flights


class Runtime(MLModel):
    """Rows in, probabilities out."""

    async def load(self) -> bool:
        """Read the model."""
        self.flights = Flights()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Score rows."""
        check = self.flights.row.model_validate_json
        rows = [check(text) for text in StringCodec.decode_input(payload.inputs[0])]
        found = NumpyCodec.encode_output("probability", np.array(self.flights.score(rows)))
        return InferenceResponse(model_name=self.name, outputs=[found])
