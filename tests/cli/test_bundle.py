"""`hrkd bundle`: check, pack, unpack and publish, as a user types it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hrkd.artifact import sha256_file
from hrkd.bundle import CARD, MODEL, open_bundle
from hrkd.shape import to_json
from tiny_bundle import make_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "int8", name="student-int8", precision="int8")
    return tmp_path / "int8"


class TestVerify:
    def test_says_what_it_is_in_a_few_lines(self, bundle: Path, hrkd) -> None:
        """Prevents an "ok" from which nobody learns what was checked."""
        result = hrkd("bundle", "verify", bundle)
        assert result.code == 0, result.err
        assert len(result.out.splitlines()) == 5
        for word in (str(bundle), "student, int8", "2 domains", "4 files", "40 evaluation texts"):
            assert word in result.out
        assert open_bundle(bundle).bundle_hash in result.out

    def test_json_carries_the_manifest(self, bundle: Path, hrkd) -> None:
        """Prevents scripts from having to read the words."""
        document = hrkd("bundle", "verify", bundle, "--json").document
        assert document["bundle_hash"] == open_bundle(bundle).bundle_hash
        assert document["eval_texts"] == 40
        assert document["manifest"] == to_json(open_bundle(bundle))

    def test_a_zip_is_verified_without_leaving_a_folder(self, bundle: Path, hrkd) -> None:
        """Prevents a download from having to be unpacked before it is known to be whole."""
        assert hrkd("bundle", "pack", bundle).code == 0
        result = hrkd("bundle", "verify", bundle.with_name("int8.zip"))
        assert result.code == 0, result.err
        assert "int8.zip" in result.out
        assert sorted(path.name for path in bundle.parent.iterdir()) == ["int8", "int8.zip"]

    @pytest.mark.parametrize("name", ["notes.txt", "model.onnx.data", "deep"])
    def test_a_file_that_nobody_listed_is_said(self, name: str, bundle: Path, hrkd) -> None:
        """Prevents a folder that is verified and yet holds what was never hashed."""
        (bundle / name).mkdir() if name == "deep" else (bundle / name).write_bytes(b"x")
        result = hrkd("bundle", "verify", bundle)
        assert result.code == 2
        assert f"'{name}', which its manifest does not list" in result.err

    def test_hidden_files_of_tools_do_not_count(self, bundle: Path, hrkd) -> None:
        """Prevents a clone of a repository from being refused for its .gitattributes."""
        (bundle / ".gitattributes").write_text("*.onnx filter=lfs\n", encoding="utf-8")
        assert hrkd("bundle", "verify", bundle).code == 0

    def test_evaluation_texts_are_read(self, bundle: Path, hrkd) -> None:
        """Prevents a bundle that verifies and then cannot be measured."""
        make_bundle(bundle.parent / "other", domain_names=("garden",))
        (bundle / "eval.jsonl").write_bytes((bundle.parent / "other" / "eval.jsonl").read_bytes())
        relist(bundle)
        result = hrkd("bundle", "verify", bundle)
        assert result.code == 2
        assert "line 1" in result.err


def relist(folder: Path) -> None:
    from hrkd.bundle import describe_files, read_manifest, write_manifest

    manifest = read_manifest(folder / "manifest.json")
    write_manifest(folder, replace(manifest, files=describe_files(folder)))


class TestPackAndUnpack:
    def test_there_and_back(self, bundle: Path, hrkd) -> None:
        """Prevents a default output that the other command does not find."""
        result = hrkd("bundle", "pack", bundle)
        archive = bundle.with_name("int8.zip")
        assert result.code == 0, result.err
        assert str(archive) in result.out
        assert sha256_file(archive) in result.out
        bundle.rename(bundle.with_name("before"))
        result = hrkd("bundle", "unpack", archive, "--json")
        assert result.code == 0, result.err
        assert result.document["bundle"] == str(bundle)
        assert result.document["bundle_hash"] == open_bundle(bundle).bundle_hash

    def test_pack_describes_the_archive(self, bundle: Path, tmp_path: Path, hrkd) -> None:
        """Prevents a hash or size of something else than the file."""
        archive = tmp_path / "out" / "student.zip"
        document = hrkd("bundle", "pack", bundle, "--output", archive, "--json").document
        assert document["sha256"] == sha256_file(archive)
        assert document["size_bytes"] == archive.stat().st_size

    @pytest.mark.parametrize("given", [".", "../int8", "../int8/"])
    def test_the_default_name_is_the_folders(self, given: str, bundle: Path, monkeypatch, hrkd) -> None:
        """Prevents `hrkd bundle pack .` from writing `.zip`."""
        monkeypatch.chdir(bundle)
        assert hrkd("bundle", "pack", given).code == 0
        assert bundle.with_name("int8.zip").is_file()

    def test_nothing_is_replaced_unasked(self, bundle: Path, hrkd) -> None:
        """Prevents an archive or a folder from being lost to a repeated command."""
        assert hrkd("bundle", "pack", bundle).code == 0
        again = hrkd("bundle", "pack", bundle)
        assert (again.code, "exists already" in again.err) == (2, True)
        assert hrkd("bundle", "pack", bundle, "--overwrite").code == 0
        back = hrkd("bundle", "unpack", bundle.with_name("int8.zip"))
        assert (back.code, "--output" in back.err) == (2, True)


class FakeHub:
    """The hub's side of the library: notes what it is asked, and may refuse."""

    calls: list[tuple[str, dict[str, Any]]]
    refusal: Exception | None = None

    def __init__(self) -> None:
        self.calls = []

    def create_repo(self, repo_id: str, **options: Any) -> None:
        self.calls.append(("create_repo", {"repo_id": repo_id, **options}))

    def upload_folder(self, **options: Any) -> SimpleNamespace:
        if self.refusal is not None:
            raise self.refusal
        self.calls.append(("upload_folder", options))
        return SimpleNamespace(commit_url="hub/user/name/commit/1")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    import huggingface_hub

    fake = FakeHub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: fake)
    return fake


class TestPush:
    def test_the_bundles_files_and_nothing_else_are_sent(self, bundle: Path, hub: FakeHub, hrkd) -> None:
        """Prevents notes, caches or keys beside a bundle from being published with it."""
        (bundle / "secret.txt").write_text("key", encoding="utf-8")
        result = hrkd("bundle", "push", bundle, "--to", "user/name", "--private")
        assert result.code == 0, result.err
        assert result.out == "hub/user/name/commit/1\n"
        (create, made), (upload, sent) = hub.calls
        assert (create, upload) == ("create_repo", "upload_folder")
        assert made == {"repo_id": "user/name", "repo_type": "model", "private": True, "exist_ok": True}
        assert chosen(sent, bundle) == {"README.md", "eval.jsonl", "manifest.json", "model.onnx", "tokenizer.json"}
        assert (sent["repo_id"], sent["folder_path"]) == ("user/name", bundle)
        assert open_bundle(bundle).bundle_hash[:12] in sent["commit_message"]

    def test_the_call_fits_the_librarys_signature(self, bundle: Path, hub: FakeHub, hrkd) -> None:
        """Prevents a fake that accepts what the library does not."""
        from inspect import signature

        from huggingface_hub.hf_api import HfApi

        assert hrkd("bundle", "push", bundle, "--to", "user/name").code == 0
        for name, options in hub.calls:
            signature(getattr(HfApi, name)).bind(None, **options)

    def test_a_dry_run_sends_nothing(self, bundle: Path, hub: FakeHub, hrkd) -> None:
        """Prevents a rehearsal that publishes."""
        result = hrkd("bundle", "push", bundle, "--to", "user/name", "--dry-run")
        assert result.code == 0, result.err
        assert hub.calls == []
        for name in (*open_bundle(bundle).files, "manifest.json"):
            assert f"{(bundle / name).stat().st_size}  {name}\n" in result.out
        assert result.out.rstrip().endswith((bundle / CARD).read_text(encoding="utf-8").rstrip())
        document = hrkd("bundle", "push", bundle, "--to", "user/name", "--dry-run", "--json").document
        assert document["dry_run"] is True
        assert document["files"][MODEL] == (bundle / MODEL).stat().st_size

    def test_a_dry_run_needs_no_library(self, bundle: Path, monkeypatch, hrkd) -> None:
        """Prevents a rehearsal on a device from asking for gigabytes of packages."""
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        assert hrkd("bundle", "push", bundle, "--to", "user/name", "--dry-run").code == 0
        result = hrkd("bundle", "push", bundle, "--to", "user/name")
        assert result.code == 2
        assert "hint: pip install 'hrkd[train]'" in result.err

    def test_a_damaged_bundle_is_not_sent(self, bundle: Path, hub: FakeHub, hrkd) -> None:
        """Prevents damage from being published under a good name."""
        (bundle / MODEL).write_bytes(b"")
        assert hrkd("bundle", "push", bundle, "--to", "user/name").code == 2
        assert hub.calls == []

    @pytest.mark.parametrize("name", ["name", "user/", "user/../x", "a/b/c", "user name/x", "user/x.git", "/x", ""])
    @pytest.mark.parametrize("dry", [[], ["--dry-run"]])
    def test_names_are_checked_before_anything_is_sent(self, name: str, dry: list[str], bundle, hub, hrkd) -> None:
        """Prevents a rehearsal that succeeds for a name with which the real run fails."""
        result = hrkd("bundle", "push", bundle, "--to", name, *dry)
        assert result.code == 2
        assert "is not a repository of a hub" in result.err
        assert hub.calls == []

    @pytest.mark.parametrize(
        "refusal", [OSError("no route to host"), RuntimeError("401 Unauthorized\nlong"), KeyError()]
    )
    def test_a_refusal_of_the_hub_is_one_message(self, refusal: Exception, bundle: Path, hub: FakeHub, hrkd) -> None:
        """Prevents a traceback through three libraries for a missing login."""
        hub.refusal = refusal
        result = hrkd("bundle", "push", bundle, "--to", "user/name")
        assert result.code == 2
        assert "`user/name` could not be published: " in result.err
        assert "logged in" in result.err
        assert len(result.err.splitlines()) == 2


def test_bundles_are_verified_and_packed_without_what_runs_them(bundle: Path) -> None:
    """Prevents a server that only hands bundles on from needing onnxruntime, let alone torch."""
    absent = ("torch", "transformers", "onnx", "onnxruntime", "tokenizers", "numpy", "huggingface_hub", "hrkd_export")
    code = (
        f"import sys\nfor name in {absent!r}: sys.modules[name] = None\nfrom hrkd_cli.main import main\n"
        "for words in (['verify'], ['pack'], ['push', '--to', 'user/name', '--dry-run']):\n"
        f"    assert main(['bundle', words[0], {str(bundle)!r}, *words[1:]]) == 0\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def chosen(sent: dict[str, Any], folder: Path) -> set[str]:
    """Return what the library would pick from the folder for these patterns."""
    from huggingface_hub.utils import filter_repo_objects

    return set(filter_repo_objects([path.name for path in folder.iterdir()], allow_patterns=sent["allow_patterns"]))
