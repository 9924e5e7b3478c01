"""Train on a corpus that is larger than the private memory that this process may add: `FOLDER ENCODER`.

RLIMIT_DATA counts private writable memory; what is mapped from files is not private. The limit is set after everything
was imported and used once on a small corpus, so it is what the large one may add.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import torch

from hrkd.data.load import load_dataset
from hrkd.recipe import Recipe
from hrkd.recipe_file import parse_recipe
from hrkd.run_folder import RunFolder
from hrkd.training import train_teacher
from tiny import make_rows

ALLOWANCE = 24 * 2**20
HEADS = make_rows(20)
ROWS = 7000
TAIL = " ".join(["x" * 400] * 20)
"""Of every text; words that no tokenizer knows take no time."""


def recipe_of(data: Path, encoder: Path, name: str, *, on_disk: bool) -> Recipe:
    training = {"epochs": 0.02 if name == "large" else 0.2, "batch_size": 4, "precision": "fp32"}
    return parse_recipe(
        {
            "name": name,
            "data": {
                **{"source": "files", "path": str(data), "max_length": 16, "on_disk": on_disk},
                **{"validation_fraction": 0.01, "test_fraction": 0.01},
            },
            "teacher": {"base": str(encoder), "training": training},
            "student": {"layers": 2},
        }
    )


def write_corpus(path: Path, rows: int) -> Path:
    """Write rows one by one: memory that was used and freed before the limit is set would not count."""
    with path.open("w", encoding="utf-8") as stream:
        for number in range(rows):
            row = HEADS[number % len(HEADS)]
            stream.write(json.dumps({**row, "text": f"{row['text']} {number} {TAIL}"}) + "\n")
    return path


def main(folder: Path, encoder: Path) -> None:
    torch.set_num_threads(1)
    small, large = (write_corpus(folder / f"{name}.jsonl", rows) for name, rows in (("small", 300), ("large", ROWS)))
    for on_disk in (False, True):
        recipe = recipe_of(small, encoder, f"small-{on_disk}", on_disk=on_disk)
        train_teacher(recipe, RunFolder.create(folder, recipe))
    used = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmData" in line)
    resource.setrlimit(resource.RLIMIT_DATA, (1024 * used + ALLOWANCE, resource.RLIM_INFINITY))
    recipe = recipe_of(large, encoder, "large", on_disk=True)
    train_teacher(recipe, RunFolder.create(folder, recipe))
    said = {"corpus_bytes": large.stat().st_size, "allowance_bytes": ALLOWANCE, "on_disk": "trained"}
    try:
        load_dataset(recipe_of(large, encoder, "large", on_disk=False).data)
        said["in_memory"] = "loaded"
    except MemoryError:
        said["in_memory"] = "MemoryError"
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
