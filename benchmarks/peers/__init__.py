"""Other ways to serve the same model, as real servers, each as its own documentation shows it.

All of them take the same checked rows, compute the same features and ask the same booster; what differs is what stands
around that. A peer runs with the ``src`` of a bento as working directory and before everything else on the path, so
that it scores with the code and the model that the bento is packed with.
"""
