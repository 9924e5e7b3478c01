"""`hrkd bundle`: check a bundle, and bring it somewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrkd_cli.options import Json, Overwrite, Quiet

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Verify, pack, unpack and publish bundles.")

Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder, made by `hrkd export`.")]


@app.command(epilog="\b\nExample:\n  hrkd bundle verify runs/demo/bundles/int8")
def verify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder, or a zip of one.")],
    as_json: Json = False,
) -> None:
    """Check everything in a bundle without running it.

    Files, hashes, schema, evaluation texts, and that the graph reaches nothing outside its file.
    """
    from hrkd.bundle_card import summary_lines
    from hrkd.bundle_verify import verify_bundle
    from hrkd.shape import to_json
    from hrkd_cli.output import Output

    verified = verify_bundle(bundle)
    manifest = verified.manifest
    lines = [
        f"bundle: {bundle}",
        *(f"  {line}" for line in summary_lines(manifest)),
        f"  verified: {len(manifest.files)} files, {verified.texts} evaluation texts, a graph in one file",
        f"  hash: {manifest.bundle_hash}",
    ]
    facts = {"bundle": str(bundle), "bundle_hash": manifest.bundle_hash, "eval_texts": verified.texts}
    Output(as_json).result({**facts, "manifest": to_json(manifest)}, "\n".join(lines))


@app.command(epilog="\b\nExample:\n  hrkd bundle pack runs/demo/bundles/int8 --output student.zip")
def pack(
    bundle: Bundle,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Zip to write; BUNDLE.zip if left out.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a bundle as one zip.

    The same bundle gives the same bytes, so the printed hash identifies it everywhere.
    """
    from hrkd.artifact import sha256_file
    from hrkd.bundle_archive import pack_bundle
    from hrkd_cli.output import Output

    folder = bundle.resolve() if bundle.name in ("", "..") else bundle
    archive = output or folder.with_name(f"{folder.name}.zip")
    manifest = pack_bundle(bundle, archive, overwrite=overwrite)
    sha256, size = sha256_file(archive), archive.stat().st_size
    facts = {"archive": str(archive), "size_bytes": size, "sha256": sha256, "bundle_hash": manifest.bundle_hash}
    Output(as_json).result(facts, f"{archive}\n  {size / 1e6:.1f} MB, SHA-256 {sha256}")


@app.command(epilog="\b\nExample:\n  hrkd bundle unpack student.zip --output student")
def unpack(
    archive: Annotated[Path, typer.Argument(metavar="FILE", help="Zip made by `hrkd bundle pack`.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder to make; FILE without .zip if left out."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Unpack a bundle from anywhere, safely.

    The folder appears once everything in it is verified, or not at all.
    """
    from hrkd.bundle_archive import unpack_bundle
    from hrkd.bundle_card import summary_lines
    from hrkd_cli.output import Output

    folder = output or archive.parent / archive.stem
    manifest = unpack_bundle(archive, folder)
    lines = [f"bundle: {folder}", *(f"  {line}" for line in summary_lines(manifest))]
    Output(as_json).result({"bundle": str(folder), "bundle_hash": manifest.bundle_hash}, "\n".join(lines))


@app.command(epilog="\b\nExample:\n  hrkd bundle push runs/demo/bundles/int8 --to user/name --dry-run")
def push(
    bundle: Bundle,
    repository: Annotated[str, typer.Option("--to", metavar="USER/NAME", help="Repository on the hub.")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private, if it is made.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be sent, and send nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Publish a bundle on the Hugging Face hub.

    Its files and nothing else are sent, in one commit; README.md becomes the model card.
    """
    from hrkd.bundle import CARD, open_bundle
    from hrkd.bundle_hub import check_repository, published_files, push_bundle
    from hrkd_cli.output import Output

    check_repository(repository)
    manifest = open_bundle(bundle)
    files = published_files(bundle, manifest)
    facts = {"repository": repository, "files": files, "bundle_hash": manifest.bundle_hash, "dry_run": dry_run}
    if dry_run:
        card = (bundle / CARD).read_text(encoding="utf-8", errors="replace")
        listing = "\n".join(f"{size:>12}  {name}" for name, size in files.items())
        Output(as_json).result({**facts, "card": card}, f"would send to {repository}:\n{listing}\n", card)
        return
    address = push_bundle(bundle, manifest, repository, private=private)
    Output(as_json).result({**facts, "address": address}, address)


@app.command(epilog="\b\nExample:\n  hrkd bundle web runs/demo/bundles/int8 --output page")
def web(
    bundle: Bundle,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder to make.")],
    without_texts: Annotated[
        bool, typer.Option("--without-texts", help="Leave the evaluation texts out; the page cannot measure then.")
    ] = False,
    assets: Annotated[
        Path | None,
        typer.Option("--assets", metavar="FOLDER", help="A node_modules folder with the page's libraries; no network."),
    ] = None,
    npm_cache: Annotated[
        Path | None, typer.Option("--npm-cache", metavar="FOLDER", help="Where fetched libraries are kept.")
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a static page that runs a bundle in the browser.

    Any web server can send it. The libraries come from npm once, checked against pinned hashes.
    """
    from hrkd_bench.web.site import write_site
    from hrkd_cli.bench_progress import bench_progress
    from hrkd_cli.extras import require
    from hrkd_cli.output import Output

    require("`hrkd bundle web`", "edge")
    out = Output(as_json, quiet)
    with bench_progress(out) as progress:
        site = write_site(
            bundle,
            output,
            assets=assets,
            npm_cache=npm_cache,
            with_texts=not without_texts,
            replace=overwrite,
            progress=progress,
        )
    if site.texts:
        out.note(f"the page carries {site.texts} evaluation texts, which become public with it (--without-texts)")
    out.result(site.facts, site.summary)
