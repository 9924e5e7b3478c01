"""Evidence: methods x data sets x training fractions x seeds, one JSON per run, and tables made from the JSON alone.

``python -m paper.run`` makes what is missing, ``python -m paper.tables`` renders. Not part of the wheel.
"""

from __future__ import annotations
