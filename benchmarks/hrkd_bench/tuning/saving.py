"""A bundle with other session settings: the same files, and a manifest and model card that say the new ones."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hrkd.artifact import new_folder, write_text
from hrkd.bundle import CARD, Manifest, describe_files, open_bundle, write_manifest
from hrkd.bundle_card import render_card
from hrkd.engines import Setting


def save_session(bundle: Path, settings: Mapping[str, Setting]) -> Manifest:
    """Change the session settings of a bundle where it stands.

    The changed bundle is made beside it, verified, and swapped in as a whole, with all other files of the folder.

    Args:
        bundle: Its folder.
        settings: What is changed; other settings stay.

    Returns:
        The new manifest.

    Raises:
        ArtifactError: The bundle is damaged.
    """
    folder = bundle.resolve()
    open_bundle(folder)
    with new_folder(folder, replace=True) as temporary:
        shutil.copytree(folder, temporary, symlinks=True, dirs_exist_ok=True)
        return _rewrite(temporary, settings)


def copy_with_session(bundle: Path, target: Path, settings: Mapping[str, Setting]) -> Manifest:
    """Make a copy of a bundle that differs in its session settings.

    Args:
        bundle: Its folder.
        target: Of the copy.
        settings: What is changed; other settings stay.

    Returns:
        The copy's manifest.

    Raises:
        ArtifactError: The bundle is damaged, or ``target`` exists.
    """
    manifest = open_bundle(bundle)
    with new_folder(target) as temporary:
        for name in manifest.files:
            shutil.copyfile(bundle / name, temporary / name)
        write_manifest(temporary, manifest)
        return _rewrite(temporary, settings)


def _rewrite(folder: Path, settings: Mapping[str, Setting]) -> Manifest:
    """Change the settings of a bundle that nobody reads yet."""
    old = open_bundle(folder)
    manifest = replace(old, session={**old.session, **settings})
    write_text(folder / CARD, render_card(manifest))
    manifest = replace(manifest, files={**old.files, CARD: describe_files(folder)[CARD]})
    write_manifest(folder, manifest)
    return open_bundle(folder)
