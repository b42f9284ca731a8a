"""Search spaces: one file for each question, saying what may vary.

A space is a module with three names and a docstring:

``BASE``
    The fixed part of the recipe: dotted recipe paths and their values.
``PUBLISHED``
    Settings from the literature (dotted paths again), tried first; what one leaves out is drawn.
``suggest(trial)``
    Calls ``trial.suggest_float("optimizer.lr", ...)`` and its siblings with dotted recipe paths,
    and branches freely on what they return. An image size is a text such as ``480x640``.

A dry run shows every branch: each choice of a ``.name`` or an image size, with what it may draw.
What the fixed settings rule out is left out of the search.

Spaces import neither torch nor ray.
"""
