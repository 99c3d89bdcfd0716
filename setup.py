"""Packages, their folders and the native module; everything else is in pyproject.toml. Probes no hardware."""

import os
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import find_packages, setup

# kernels/ and calibration/ stand beside dfer_edge/ and are installed inside it: no bare top-level import names.
# The links of the same names inside dfer_edge/ let a checkout and the type checker see them there too.
MAPPED = {"dfer_edge.kernels": "kernels", "dfer_edge.calibration": "calibration"}

packages = find_packages(include=["dfer_edge", "dfer_edge.*"], exclude=[f"{name}*" for name in MAPPED])
for name, folder in MAPPED.items():
    packages += [name, *(f"{name}.{sub}" for sub in find_packages(folder))]

cpu = Pybind11Extension(
    "dfer_edge._cpu",
    sorted(str(path) for part in ("module", "*/*") for path in Path("csrc").glob(f"{part}_cpu.cpp"))
    + sorted(str(path) for path in Path("csrc").glob("*/*_bind.cpp")),
    include_dirs=["csrc"],
    depends=sorted(str(path) for path in Path("csrc").glob("*/*.h")),
    cxx_std=17,
    # No -march=native: a wheel runs where it was not built (csrc/common/simd.h). No fast-math: NaN must stay NaN.
    # Whoever packages has the last word.
    extra_compile_args=[
        *("-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra"),
        *os.environ.get("CXXFLAGS", "").split(),
    ],
    extra_link_args=["-pthread"],
)

ParallelCompile("DFER_EDGE_BUILD_JOBS", default=2).install()

setup(
    packages=packages,
    package_dir={"dfer_edge": "dfer_edge", **MAPPED},
    package_data={
        "dfer_edge": ["py.typed", "*.pyi", "assets/*", "assets/weights/*", "_cuda*.so", "serve/page/*"],
        "dfer_edge.kernels": ["*/README.md"],
    },
    ext_modules=[cpu],
)
