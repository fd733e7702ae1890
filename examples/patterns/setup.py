"""The version comes from git, by versioneer; everything else stands in setup.cfg."""

import setuptools
import versioneer

setuptools.setup(version=versioneer.get_version(), cmdclass=versioneer.get_cmdclass())
