"""What pyproject.toml cannot say: the plugin is put among Twisted's own, beside the package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["gymtwist", "gymtwist.*"]), "gymtwist.web.static", "twisted.plugins"],
    package_dir={"": "."},
)
