"""Download one source archive with the pip of the running interpreter, without building it.

``pip download`` of a source archive runs its ``setup.py`` to learn its metadata. Nothing of a foreign archive shall
ever run, so this script asks pip for the link (its index, proxy, certificates and mirrors as configured) and for the
bytes, and for nothing else. It uses pip's internal classes, which differ between versions, and is therefore run as a
process of its own, by path: it imports the standard library and pip only.

Call: ``python -P pip_fetch.py NAME VERSION FOLDER``. One JSON object on stdout: ``{"file": PATH}``, or
``{"error": KIND, "detail": TEXT}`` with the kinds of :data:`ERROR_KINDS`.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import shutil
import sys
from pathlib import Path
from typing import Any

ERROR_KINDS = ("no_pip", "not_found", "failed")


def fetch(name: str, version: str, folder: Path) -> dict[str, str]:
    """Download ``name==version`` as a source archive into ``folder`` and return what to print."""
    try:
        from pip._internal.commands.download import DownloadCommand
        from pip._internal.network.download import Downloader
        from pip._vendor.packaging.specifiers import SpecifierSet
    except ImportError as error:
        return {"error": "no_pip", "detail": str(error)}
    command = DownloadCommand("download", "")
    options, _ = command.parse_args(["--no-binary=:all:", f"{name}=={version}"])
    with command.main_context():
        session = command.get_default_session(options)
        finder = command._build_package_finder(options, session)
        candidate = finder.find_best_candidate(name, SpecifierSet(f"=={version}")).best_candidate
        if candidate is None:
            return {
                "error": "not_found",
                "detail": f"pip finds no source archive of {name} {version}, or reaches no index",
            }
        if candidate.link.is_file:
            return {"file": str(shutil.copy(candidate.link.file_path, folder))}
        path, _ = _make_downloader(Downloader, session)(candidate.link, str(folder))
        return {"file": str(path)}


def _make_downloader(downloader: Any, session: Any) -> Any:
    """Build pip's downloader: some versions (25.1 to 25.2) want the number of resume attempts as well."""
    values = {"session": session, "progress_bar": "off", "resume_retries": 0}
    return downloader(**{key: values[key] for key in inspect.signature(downloader).parameters})


def main(arguments: list[str]) -> int:
    """Run :func:`fetch` with stdout kept free for the result."""
    name, version, folder = arguments
    try:
        with contextlib.redirect_stdout(sys.stderr):
            result = fetch(name, version, Path(folder))
    except Exception as error:  # noqa: BLE001 - pip raises many kinds; the caller reports them all in the same way
        result = {"error": "failed", "detail": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
