"""XGBoost, imported without scikit-learn.

``import xgboost`` imports scikit-learn, and with it pandas, for its estimator classes, which nothing here uses: 0.9 s
against 0.2 s, in every stage and in every server process. XGBoost supports running without scikit-learn; for the moment
of the import it is told that there is none. Whoever needs scikit-learn itself imports it as usual, before or after.
"""

from __future__ import annotations

import sys
from types import ModuleType


def xgboost() -> ModuleType:
    """The module ``xgboost``, imported at the first call."""
    if "xgboost" not in sys.modules and "sklearn" not in sys.modules:
        sys.modules["sklearn"] = None  # type: ignore[assignment]
        try:
            import xgboost  # noqa: F401
        finally:
            del sys.modules["sklearn"]
    import xgboost as module

    return module  # type: ignore[no-any-return]
