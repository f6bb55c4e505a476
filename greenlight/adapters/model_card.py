"""The model card as one HTML page: no script, no font and no picture from elsewhere; the same card, the same bytes."""

from __future__ import annotations

from functools import cache

from jinja2 import Template

from greenlight.adapters.pages import environment
from greenlight.core.model_card import Card

TEMPLATE = "model_card.html.j2"


def render(card: Card) -> str:
    """The page as text."""
    return _template().render(card=card)


@cache
def _template() -> Template:
    return environment().get_template(TEMPLATE)
