"""Training: the multi-domain teacher and the distilled student.

Example::

    from pathlib import Path
    from hrkd.recipe_file import load_recipe
    from hrkd.run_folder import RunFolder
    from hrkd.training import distill, train_teacher

    recipe = load_recipe(Path("demo.yaml"))
    run = RunFolder.create(Path("runs"), recipe)
    train_teacher(recipe, run)
    record = distill(recipe, run)
    print(record.details["validation"])
"""

from __future__ import annotations

from hrkd.training.distill import distill
from hrkd.training.observer import Observer, Observers, StepReport
from hrkd.training.teacher import train_teacher

__all__ = ["Observer", "Observers", "StepReport", "distill", "train_teacher"]
