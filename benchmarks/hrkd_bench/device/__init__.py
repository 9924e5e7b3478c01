"""Measuring on another machine: what is sent there, what it does, and what is made of its answer here.

::

    pack      one file with code, bundles and plan          (here)
    start     its first lines: says what is missing         (there, any Python)
    session   the measurement: `hrkd_bench.measurement.measure`         (there: numpy, onnxruntime, tokenizers)
    wire      the session as JSON and back
    merge     hashes compared, the document of `hrkd bench` (here)
    remote    all of it over ssh
"""

from __future__ import annotations
