"""The same as an MLflow model ("models from code"): what ``mlflow models serve`` loads and asks with a data frame.

Run as a program in MLflow's environment it saves that model: ``python -m benchmarks.peers.mlflow_model FOLDER``.
"""

import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from benchmarks.peers.scoring import Flights


class Model(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]
    """Rows in a frame, probabilities out."""

    def load_context(self, context: Any) -> None:
        """Read the model."""
        self.flights = Flights()

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> list[float]:
        """Score rows; what a frame holds as NaN is not known."""
        rows = model_input.astype(object).where(model_input.notna(), None).to_dict("records")
        check = self.flights.row.model_validate
        return self.flights.score([check(row) for row in rows])


if __name__ == "__main__":
    mlflow.pyfunc.save_model(path=sys.argv[1], python_model=str(Path(__file__)), pip_requirements=[])
else:
    mlflow.models.set_model(Model())
