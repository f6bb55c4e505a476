"""Which columns of a request are private: the prediction log keeps them as a keyed hash, never as they were sent.

A module of its own, since it changes what is kept and not what is scored. A dataset without it has no private column.
"""

from __future__ import annotations

PRIVATE: tuple[str, ...] = ()
"""Timetables, weather and the register of planes are public records; a passenger's name would stand here."""
