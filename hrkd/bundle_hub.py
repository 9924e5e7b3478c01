"""Publishing a bundle on a model hub, through `huggingface_hub`."""

from __future__ import annotations

import re
from pathlib import Path

from hrkd.bundle import MANIFEST, Manifest
from hrkd.errors import HrkdError, MissingExtraError, first_line

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def check_repository(name: str) -> None:
    """Refuse what cannot be a repository of a hub, before anything is sent.

    Raises:
        HrkdError: ``name`` is not of the form `user/name`.
    """
    if not _REPOSITORY.fullmatch(name) or ".." in name or "--" in name or name.endswith((".git", ".", "-")):
        raise HrkdError(f"{name!a} is not a repository of a hub", hint="write --to user/name")


def published_files(folder: Path, manifest: Manifest) -> dict[str, int]:
    """Return the files that are sent, and their sizes in bytes: those of the manifest and the manifest itself."""
    sizes = {name: file.size_bytes for name, file in manifest.files.items()}
    return dict(sorted({**sizes, MANIFEST: (folder / MANIFEST).stat().st_size}.items()))


def push_bundle(folder: Path, manifest: Manifest, repository: str, *, private: bool = False) -> str:
    """Upload a verified bundle in one commit, and return the commit's address.

    Args:
        folder: The bundle.
        manifest: As verified; other files of the folder stay here.
        repository: ``user/name``; made when it does not exist.
        private: Whether a repository that is made is private.

    Raises:
        HrkdError: The name is no repository, or the hub refused.
        MissingExtraError: `huggingface_hub` is not installed.
    """
    check_repository(repository)
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingExtraError("publishing a bundle", "train") from error
    hub = HfApi()
    try:
        hub.create_repo(repository, repo_type="model", private=private, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repository,
            repo_type="model",
            folder_path=folder,
            allow_patterns=list(published_files(folder, manifest)),
            commit_message=f"Bundle {manifest.bundle_hash[:12]}",
        )
    except Exception as error:  # the library, and the one below it, raise many kinds that share no base
        raise HrkdError(
            f"`{repository}` could not be published: {first_line(error) or type(error).__name__}",
            hint="check the name, the network and that you are logged in (`hf auth login`), then push again",
        ) from error
    return str(commit.commit_url)
