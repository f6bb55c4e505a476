"""The model card as one HTML page: no script, no font and no picture from elsewhere; the same card, the same bytes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from greenlight.core.model_card import Card

TEMPLATE = "model_card.html.j2"


def render(card: Card) -> str:
    """The page as text."""
    return _template().render(card=card)


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE)
