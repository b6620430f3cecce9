"""What pyproject.toml cannot say: the packages are those of the folder above, in a directory that a .pth file names.

So this distribution and gymtwist share no file: both can be installed, and one can be uninstalled without damage to the
other. gymtwist's packages come first on the path.
"""

import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

DIRECTORY = "_gymtwist_client"
ROOMS = ("client", "protocol", "spaces")


class BuildWithPath(build_py):
    """Builds the packages and the .pth file."""

    def run(self) -> None:
        """Refuse an editable installation, which would have no directory that the .pth file could name."""
        if self.editable_mode:
            raise SystemExit("install the client without --editable, or gymtwist itself with it")
        super().run()
        Path(self.build_lib, "gymtwist_client.pth").write_text(f"{DIRECTORY}\n")
        shutil.copy("../LICENSE", Path(self.build_lib, DIRECTORY))


setup(
    version=runpy.run_path("../gymtwist/__init__.py")["__version__"],
    packages=[
        f"{DIRECTORY}.{package}"
        for package in find_packages("..", include=["gymtwist", *(f"gymtwist.{room}*" for room in ROOMS)])
    ],
    package_dir={DIRECTORY: ".."},
    package_data={f"{DIRECTORY}.gymtwist": ["py.typed"]},
    cmdclass={"build_py": BuildWithPath},
)
