"""Packages and their folders; everything else is in pyproject.toml. Probes no hardware, downloads nothing."""

from setuptools import find_packages, setup

# kernels/ and calibration/ stand beside dfer_edge/ and are installed inside it: no bare top-level import names.
# The links of the same names inside dfer_edge/ let a checkout and the type checker see them there too.
MAPPED = {"dfer_edge.kernels": "kernels", "dfer_edge.calibration": "calibration"}

packages = find_packages(include=["dfer_edge", "dfer_edge.*"], exclude=[f"{name}*" for name in MAPPED])
for name, folder in MAPPED.items():
    packages += [name, *(f"{name}.{sub}" for sub in find_packages(folder))]

setup(
    packages=packages,
    package_dir={"dfer_edge": "dfer_edge", **MAPPED},
    package_data={"dfer_edge": ["py.typed", "assets/*"], "dfer_edge.kernels": ["*/README.md"]},
)
