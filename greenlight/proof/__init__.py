"""What puts the gates to the proof: over history, against injected faults, against a published test.

Stands above the stages because it runs them, as they are, in folders of its own: no DVC, no Git, no Prefect.
"""
