"""The service that is packed with every model: BentoML's shell around the API.

It knows no dataset: the model folder beside it says which one, and that dataset says what a row looks like.
"""

from __future__ import annotations

import bentoml

from bentos.classifier.api import create_app

# Everything that a client sends or gets passes the mounted application: it names the field of a wrong input,
# and it costs a third of a BentoML endpoint. BentoML keeps liveness, readiness, metrics, the build and the
# container file.
app = create_app()


@bentoml.service(name="classifier", traffic={"timeout": 130})
@bentoml.asgi_app(app, path="/")
class Classifier:
    """Scores rows with the model that is packed in this bento. Ask `POST /predict`; `/docs` describes it."""
