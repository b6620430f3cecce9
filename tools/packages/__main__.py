"""Install third-party packages, play their environments, and write the page of results."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
from pathlib import Path

from tools.packages.listed import PACKAGES, Package
from tools.packages.processes import TimedOut, run
from tools.packages.results_page import write_page

REPOSITORY = Path(__file__).resolve().parents[2]
#: The most seconds to install a package, and to play it.
INSTALL_SECONDS, PLAY_SECONDS = 1200, 900
#: What every virtual environment has besides the package.
NEEDED = ("trustme",)


def install(package: Package, folder: Path) -> str | None:
    """Make the package's virtual environment, unless it is there; return why that is impossible, or None."""
    python, stamp = folder / "venv" / "bin" / "python", folder / "installed"
    ours = ["--editable", str(REPOSITORY), *NEEDED]
    own = f"{package.name}=={package.version}"
    wanted = json.dumps([own, package.also, package.no_deps])
    if stamp.exists() and stamp.read_text() == wanted:
        return None
    stamp.unlink(missing_ok=True)
    # uv does the same in a tenth of the time.
    pip = ["uv", "pip"] if shutil.which("uv") else [sys.executable, "-m", "pip", "--python", str(python)]
    pip += ["install", "--quiet", *(["--python", str(python)] if pip[0] == "uv" else ["--no-compile"])]
    steps = [
        [sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder / "venv")],
        [*pip, *ours, *package.also, *([] if package.no_deps else [own])],
        *([[*pip, "--no-deps", own]] if package.no_deps else []),
    ]
    with (folder / "install.log").open("w") as log:
        for words in steps:
            try:
                status = run(words, INSTALL_SECONDS, log)
            except TimedOut:
                return f"it took more than {INSTALL_SECONDS} s"
            if status:
                return _reason(folder / "install.log")
    stamp.write_text(wanted)
    return None


def _reason(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    # That of uv is below the line that says that there is an error.
    errors = [line for line in lines if line.startswith(("cause: ", "ERROR: "))]
    return next(iter(errors or lines[-1:]), "pip failed").removeprefix("cause: ").removeprefix("ERROR: ")[:200]


def play(package: Package, folder: Path, most: int) -> str | None:
    """Play an installed package in its virtual environment; return why it ended early. The result is in its folder."""
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    text = json.dumps({"package": package, "most": most})
    words = [str(folder / "venv" / "bin" / "python"), "-m", "tools.packages.equivalence_check", str(result)]
    error = None
    with (folder / "play.log").open("w") as log:
        try:
            status = run(words, PLAY_SECONDS, log, text=text, directory=REPOSITORY)
            error = f"the check ended with status {status}" if status else None
        except TimedOut:
            error = f"it took more than {PLAY_SECONDS} s"
    if error is not None:
        told = json.loads(result.read_text()) if result.exists() else {"ids": [], "versions": {}}
        result.write_text(json.dumps({**told, "error": error}, indent=1))
    return error


def main() -> None:
    """Play the named packages, or all, and write the page from what is known of all of them."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    parser = argparse.ArgumentParser(prog="python -m tools.packages", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="the packages to play; all without any")
    parser.add_argument("--cache", type=Path, default=REPOSITORY / ".packages", help="where the packages are installed")
    parser.add_argument("--most", type=int, default=5, help="the most ids of most packages")
    parser.add_argument("--install-only", action="store_true", help="install the packages, and play none")
    parser.add_argument("--page-only", action="store_true", help="play nothing; write the page from earlier results")
    options = parser.parse_args()
    if unknown := set(options.names) - {package.name for package in PACKAGES}:
        parser.error(f"no such package: {', '.join(sorted(unknown))}")
    failed = 0
    for package in PACKAGES:
        folder = (options.cache / package.name).absolute()
        if options.page_only or (options.names and package.name not in options.names):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{package.name} {package.version}: ", end="", flush=True)
        error, done = install(package, folder), "installed"
        if error is not None:
            (folder / "result.json").write_text(json.dumps({"ids": [], "versions": {}, "refused": error}))
        elif not options.install_only:
            error, done = play(package, folder, options.most), "played"
        failed += error is not None
        print(error or done, flush=True)
    write_page(options.cache)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
