"""What a person or a flow can ask for: one verb a file, composed of adapters, without a word of Prefect.

The layer stands between the stages and the command line so that a roll-back works while the orchestrator is down, and
so that a flow and a command cannot drift apart: both call the same function.
"""
