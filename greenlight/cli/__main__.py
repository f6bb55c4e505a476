"""``python -m greenlight.cli`` does what ``greenlight`` does."""

from greenlight.cli import main

main()
