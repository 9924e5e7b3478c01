"""Make the runs of the plan that have no result yet; resumable, and safe to start once per core.

    python -m paper.run --threads 1                 everything that is missing
    python -m paper.run --dataset vader --list      what is missing, and nothing else
    python -m paper.run --dataset amazon_reviews --set amazon_reviews:data.path=FOLDER

Ctrl-C keeps a checkpoint; the same command goes on from there. Processes that share a work folder share the work.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hrkd.errors import ArtifactError, HrkdError, Interrupted
from hrkd_cli.output import Output, print_error
from paper.claims import Claims, Outcome, Schedule
from paper.documents import RESULTS, read_result
from paper.plan import PLAN, TEACHER, Job, Plan, Wanted, job, jobs, read_plan, whole_recipe
from paper.provenance import changes, described, read_commit

WORK = Path("runs") / "paper"
PATIENCE = 2.0
"""Seconds to wait for another process that may only be checking a teacher, and not training it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return _run(arguments)
    except HrkdError as error:
        print_error(error.message, error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        print_error("interrupted", "finished runs are kept; the same command goes on from there")
        return Interrupted.exit_code


def _run(arguments: argparse.Namespace) -> int:
    output = Output(quiet=arguments.quiet)
    plan = read_plan(arguments.plan)
    wanted = Wanted(tuple(arguments.dataset), tuple(arguments.method), tuple(arguments.seed), tuple(arguments.fraction))
    planned = list(jobs(plan, wanted, arguments.overrides))
    missing = missing_jobs(planned, arguments.results)
    output.note(f"{len(planned)} runs wanted, {len(missing)} missing")
    if arguments.list:
        output.result([str(one) for one in missing], *map(str, missing))
        return 0
    if not missing:
        return 0
    return Runner(plan, arguments, output).work(missing)


def missing_jobs(planned: Sequence[Job], results: Path) -> list[Job]:
    """Return the runs without a result.

    Raises:
        ArtifactError: A result is damaged, or was made from another recipe than the plan now says: rows of a table
            must not mix two methods of one name.
    """
    missing = []
    for one in planned:
        path = results / one.cell / one.method / f"seed-{one.seed}.json"
        if not path.exists():
            missing.append(one)
            continue
        changed = changes(read_result(path).recipe, described(one.recipe), one.overrides)
        if changed:
            raise ArtifactError(
                f"`{path}` was made from another recipe: {'; '.join(changed[:3])}",
                hint="delete it to make the run again, or take the change back",
            )
    return missing


class Runner:
    """Makes runs, teachers first, beside other processes in the same work folder."""

    def __init__(self, plan: Plan, arguments: argparse.Namespace, output: Output) -> None:
        from paper.execute import Places

        self.plan = plan
        self.overrides: list[str] = arguments.overrides
        self.output = output
        self.places = Places(arguments.work, arguments.results, read_commit(), arguments.keep)
        self.claims = Claims(arguments.work / ".claims")
        if arguments.threads is not None:
            import torch

            torch.set_num_threads(arguments.threads)

    def work(self, missing: Sequence[Job]) -> int:
        """Make what is missing; returns the exit code."""
        self._look_at_data(missing)
        schedule = Schedule(missing, self._attempt)
        left = schedule.work()
        if left:
            self.output.note(f"{len(left)} runs are being made by other processes")
        for failed in schedule.failed:
            self.output.warning(f"failed: {failed}")
        return 2 if schedule.failed else 0

    def _look_at_data(self, missing: Sequence[Job]) -> None:
        """Load every data set once before hours are spent on the first one."""
        from hrkd.data.load import load_dataset
        from paper.facts import dataset_facts, keep_facts

        for name in dict.fromkeys(one.dataset for one in missing):
            recipe = whole_recipe(self.plan, name, self.overrides)
            keep_facts(self.places.results, dataset_facts(name, load_dataset(recipe.data)))

    def _attempt(self, one: Job) -> Outcome:
        with self.claims.hold(*_place(one)) as own:
            if not own:
                return Outcome.TAKEN
            if self.places.result(one).exists():
                return Outcome.DONE
            try:
                return self._make(one)
            except Interrupted:
                raise
            except HrkdError as error:
                print_error(f"{one}: {error.message}", error.hint)
                return Outcome.FAILED

    def _make(self, one: Job) -> Outcome:
        from hrkd_cli.progress import training_observer
        from paper.execute import make_student, make_teacher

        teacher = self._teacher_of(one)
        with self.claims.hold(*_place(teacher), patience=PATIENCE) as own:
            if not own:
                return Outcome.BLOCKED
            with training_observer(self.output) as observer:
                observer.message(f"== {teacher}")
                make_teacher(teacher, self.places, observer)
        with training_observer(self.output) as observer:
            observer.message(f"== {one}")
            make_student(one, teacher, self.places, observer)
        return Outcome.DONE

    def _teacher_of(self, one: Job) -> Job:
        block = next(b for b in self.plan.grid if (b.dataset, b.fraction) == (one.dataset, one.fraction))
        return job(self.plan, block, TEACHER, one.seed, self.overrides)


def _place(one: Job) -> tuple[str, ...]:
    return (one.dataset, f"{one.fraction:g}", one.method, f"seed-{one.seed}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m paper.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--dataset", action="append", default=[], metavar="NAME", help="only this data set; repeatable")
    add("--method", action="append", default=[], metavar="NAME", help="only this method; repeatable")
    add("--seed", action="append", default=[], type=int, metavar="N", help="only this seed; repeatable")
    add("--fraction", action="append", default=[], type=float, metavar="PERCENT", help="only this; repeatable")
    add(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="[DATASET:]KEY=VALUE",
        help="override one value of the recipes, of one data set or of all; repeatable",
    )
    add("--threads", type=int, metavar="N", help="threads of this process; what torch takes when left out")
    add("--list", action="store_true", help="print what is missing and stop")
    add("--keep", action="store_true", help="keep the students' weights")
    add("--work", type=Path, default=WORK, metavar="FOLDER", help="models and checkpoints (%(default)s)")
    add("--results", type=Path, default=RESULTS, metavar="FOLDER", help="the JSON (benchmarks/paper/results)")
    add("--plan", type=Path, default=PLAN, metavar="FILE", help="the grid (benchmarks/paper/plan.yaml)")
    add("--quiet", "-q", action="store_true", help="no progress, only warnings and errors")
    return parser


if __name__ == "__main__":
    sys.exit(main())
