"""Where a measurement is taken: here, here under the limits of a profile, in a browser, or on another machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrkd.artifact import folder_hash
from hrkd.bundle import MANIFEST, open_bundle
from hrkd.errors import BenchError
from hrkd.recipe import BenchConfig
from hrkd_bench.bench import bench
from hrkd_bench.limits.profiles import Profile, find_profile, grant
from hrkd_bench.measurement.measure import Progress
from hrkd_bench.measurement.memory_limit import add_memory_limits, smallest_limits
from hrkd_bench.measurement.roofline import add_roofline, measure_rates
from hrkd_bench.profiled import limits_but_memory, profiled
from hrkd_cli.output import Output
from hrkd_cli.strays import refuse_stray

HERE, BROWSER = "here", "browser"
Place = Callable[[Sequence[Path], Sequence[Path], BenchConfig, Progress | None], dict[str, Any]]
"""Takes bundles, baselines, how to measure and whom to tell; returns the bench document."""


@dataclass(frozen=True, slots=True)
class PlaceOptions:
    """What the command line says about the place; None for what was not given.

    Attributes:
        target: ``here`` or ``browser``.
        profile: Name of the limits.
        profiles: File with further profiles.
        browser: The browser's file.
        assets: The page's libraries.
        host: ``user@device``.
        port: Of its ssh server.
        identity: Key file for it.
        python: Python on it.
        wheels: Folder of wheels to make an environment there from.
        device: What it is called.
        memory_limit: Whether the smallest memory limit of each bundle is searched for at that place, too.
    """

    target: str = HERE
    profile: str | None = None
    profiles: Path | None = None
    browser: Path | None = None
    assets: Path | None = None
    host: str | None = None
    port: int | None = None
    identity: Path | None = None
    python: str | None = None
    wheels: Path | None = None
    device: str | None = None
    memory_limit: bool = False

    def place(self, output: Output) -> Place:
        """Return how to measure there, with everything that can be refused refused.

        Raises:
            BenchError: There is no such place or profile, an option belongs to another place, or the device cannot be
                reached or cannot measure.
        """
        if self.target not in (HERE, BROWSER):
            raise BenchError(f"there is no place `{self.target}` to measure at", hint=f"there are: {HERE}, {BROWSER}")
        chosen = {"--target browser": self.target == BROWSER, "--profile": self.profile, "--host": self.host}
        given = [name for name, value in chosen.items() if value]
        if len(given) > 1:
            raise BenchError(f"{' and '.join(given)} name two places", hint="measure at one place at a time")
        self._refuse_strays(given)
        if self.target == BROWSER:
            if self.memory_limit:
                raise BenchError("--memory-limit ends processes of ours, which a browser is not", hint="leave it out")
            return in_browser(self.browser, self.assets)
        if self.host is not None:
            return self._on_host(self.host, output)
        place = here if self.profile is None else under(_imposed(find_profile(self.profile, self.profiles)))
        return with_memory_limits(place) if self.memory_limit else place

    def refuse_unmeasurable(self, bundles: Sequence[Path], baselines: Sequence[Path], config: BenchConfig) -> None:
        """Refuse what cannot be measured at that place whatever it is.

        Raises:
            BenchError: A browser is asked for more than one bundle's closed loop.
        """
        if self.target == BROWSER:
            _refuse_in_browser(bundles, baselines, config)

    def measurable(self, bundles: Sequence[Path], baselines: Sequence[Path]) -> list[Path]:
        """Return the baselines that are measured at that place.

        Raises:
            BenchError: One cannot be, and no bundle that was made from it is there to stand for it.
        """
        return list(baselines) if self.host is None else _without_pytorch(bundles, baselines)

    def _refuse_strays(self, given: Sequence[str]) -> None:
        browsers, owners = self.browser or self.assets, "--target browser"
        refuse_stray(browsers, "--browser and --assets", owners, given=owners in given)
        of_hosts = self.port or self.identity or self.python or self.wheels or self.device
        names = "--port, --identity, --python, --wheels and --device"
        refuse_stray(of_hosts, names, "--host", given="--host" in given)
        refuse_stray(self.profiles, "--profiles", "--profile", given="--profile" in given)

    def _on_host(self, host: str, output: Output) -> Place:
        """Return how to measure there; the device is asked now, before students are built or bundles packed."""
        from hrkd_bench.device.facts import ask, check
        from hrkd_bench.device.remote import measure_there
        from hrkd_bench.device.ssh import Target

        target = Target(host, port=self.port, identity=self.identity, python=self.python or "python3")
        check(ask(target), host, 0, brings_wheels=self.wheels is not None)

        def measure(
            bundles: Sequence[Path], baselines: Sequence[Path], config: BenchConfig, progress: Progress | None
        ) -> dict[str, Any]:
            measured = measure_there(
                target,
                bundles,
                baselines,
                config,
                progress=progress or _nobody,
                note=output.note,
                memory_limit=self.memory_limit,
                wheels=self.wheels,
            )
            return measured.document(self.device)

        return measure


def _nobody(phase: str, done: int, total: int) -> None:
    """Report to nobody."""


def _refuse_in_browser(bundles: Sequence[Path], baselines: Sequence[Path], config: BenchConfig) -> None:
    if len(bundles) != 1 or baselines or config.rate is not None or config.minutes is not None:
        hint = "give one bundle, and leave --baseline, --rate and --minutes out"
        raise BenchError("a browser measures one bundle at a time, one text after the other", hint=hint)


def _without_pytorch(bundles: Sequence[Path], baselines: Sequence[Path]) -> list[Path]:
    """Leave out model folders: a device has no PyTorch, so a bundle that was made from the same weights stands in."""
    exported = [path for path in baselines if (path / MANIFEST).is_file()]
    represented = {open_bundle(path).parents.get("checkpoint") for path in (*bundles, *exported)}
    for path in baselines:
        if path not in exported and folder_hash(path) not in represented:
            raise BenchError(
                f"`{path}` is no bundle, and none that was made from it is given: a device has no PyTorch",
                hint="export it with `hrkd export`, and give the bundle",
            )
    return exported


def _imposed(profile: Profile) -> Profile:
    """Return a profile that this machine can impose, found out now and not after a teacher has been exported."""
    grant(profile)
    return profile


def here(
    bundles: Sequence[Path], baselines: Sequence[Path], config: BenchConfig, progress: Progress | None
) -> dict[str, Any]:
    """Measure on this machine."""
    document = bench(bundles, baselines=baselines, config=config, progress=progress)
    return add_roofline(document, [*baselines, *bundles], measure_rates())


def under(profile: Profile) -> Place:
    """Return how to measure on this machine under a profile's limits."""

    def measure(
        bundles: Sequence[Path], baselines: Sequence[Path], config: BenchConfig, progress: Progress | None
    ) -> dict[str, Any]:
        return profiled(profile, bundles, baselines=baselines, config=config, progress=progress)

    return measure


def with_memory_limits(place: Place) -> Place:
    """Return how to measure at a place of this machine, and then search for each bundle's smallest memory limit there.

    A profile's CPUs and quota hold for the search, too; its memory limit is what the search replaces.
    """

    def measure(
        bundles: Sequence[Path], baselines: Sequence[Path], config: BenchConfig, progress: Progress | None
    ) -> dict[str, Any]:
        document = place(bundles, baselines, config, progress)
        if progress is not None:
            progress("searching for the smallest memory limit", 0, 1)
        threads = document["results"][-1]["threads"]
        return add_memory_limits(document, smallest_limits(bundles, threads, limits_but_memory(document)))

    return measure


def in_browser(browser: Path | None, assets: Path | None) -> Place:
    """Return how to measure in headless Chromium."""

    def measure(
        bundles: Sequence[Path], baselines: Sequence[Path], config: BenchConfig, progress: Progress | None
    ) -> dict[str, Any]:
        _refuse_in_browser(bundles, baselines, config)
        from hrkd_bench.web.bench import bench_in_browser

        return bench_in_browser(bundles[0], config=config, assets=assets, browser=browser, progress=progress)

    return measure
