"""The package as a user gets it: really built, really installed into fresh environments."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.conftest import ASTRONAUT, ROOT

IMPORTS = "import dfer_edge, dfer_edge.kernels, dfer_edge.calibration; "
WHERE = IMPORTS + "print(dfer_edge.__file__, dfer_edge.kernels.__file__, dfer_edge.calibration.__file__)"


def call(*command: object, cwd: Path, **environment: str) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    run = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=clean | environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, f"{command}\n{run.stdout}\n{run.stderr}"
    return run.stdout


def built(folder: Path, kinds: tuple[str, ...], native: Path | None) -> list[Path]:
    """Built from a copy of the tracked files, so that nothing lying about in the checkout gets in.

    ``native``: the compiled module of this checkout, to be taken as it is.
    """
    files = call("git", "ls-files", cwd=ROOT).splitlines()
    call("tar", "-cf", folder / "tree.tar", *[f for f in files if (ROOT / f).exists()], cwd=ROOT)
    tree = folder / "tree"
    tree.mkdir()
    call("tar", "-xf", folder / "tree.tar", cwd=tree)
    if native:
        where = f"build/lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}/dfer_edge"
        (tree / where).mkdir(parents=True)
        os.utime(shutil.copy(native, tree / where))  # newer than its sources: not compiled again
    command = [sys.executable, "-m", "build", "--no-isolation", *kinds, "--outdir", folder, tree]
    call(*command, cwd=folder, CXXFLAGS="-O0")  # what is built is asked for here, not how fast it is
    return [next(folder.glob("*.whl" if kind == "--wheel" else "*.tar.gz")) for kind in kinds]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Wheel and source archive; C++ is compiled by the slow test and was by the install of this checkout."""
    native = ROOT / "dfer_edge" / f"_cpu{sysconfig.get_config_var('EXT_SUFFIX')}"
    return built(tmp_path_factory.mktemp("build"), ("--wheel", "--sdist"), native if native.is_file() else None)


@pytest.fixture(scope="module")
def wheel(archives: list[Path]) -> Path:
    return archives[0]


def environment(folder: Path) -> Path:
    """The interpreter of a fresh virtual environment, which :func:`install` installs into."""
    venv.create(folder, with_pip=False)
    return folder / "bin" / "python"


def install(python: Path, *what: object, **variables: str) -> None:
    """By this environment's pip: unpacking one into each would cost seconds."""
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"]
    call(*pip, *what, cwd=python.parent, **variables)


@pytest.fixture(scope="module")
def wheel_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel without its dependencies, which are borrowed from this environment."""
    python = environment(tmp_path_factory.mktemp("wheel-venv"))
    install(python, "--no-deps", "--no-index", wheel)
    return python


@pytest.fixture(scope="module")
def editable_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This environment where it is an editable install of this checkout, as `make test` makes it; else a fresh one."""
    # The checkout has metadata of its own beside that of the install: all are looked at.
    origins = [json.loads(found.read_text("direct_url.json") or "{}") for found in distributions(name="dfer-edge")]
    if any(origin.get("url") == ROOT.as_uri() and origin["dir_info"].get("editable") for origin in origins):
        return Path(sys.executable)
    python = environment(tmp_path_factory.mktemp("editable-venv"))
    borrowed = sysconfig.get_paths()["purelib"]
    install(python, "--no-deps", "--no-index", "--no-build-isolation", "-e", ROOT, PYTHONPATH=borrowed)
    return python


def test_wheel_has_one_top_level_name_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"dfer_edge"}
    for needed in ("py.typed", "kernels/clip_to_tensor/reference.py", "kernels/clip_to_tensor/README.md"):
        assert f"dfer_edge/{needed}" in names
    assert "dfer_edge/calibration/__init__.py" in names
    assert [name for name in names if name.startswith("dfer_edge/_cpu.") and name.endswith(".so")]
    assert not [name for name in names if "tests" in name.split("/") or "/test_" in name]
    assert "dfer_edge/bench/cases/kernel_cases/lbp.py" in names
    assert len(names) == len(set(names))


def test_the_source_archive_holds_all_that_is_compiled(archives: list[Path]) -> None:
    with tarfile.open(archives[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = call("git", "ls-files", "csrc", "kernels", "calibration", "dfer_edge", cwd=ROOT).splitlines()
    links = {"dfer_edge/kernels", "dfer_edge/calibration"}
    assert {f for f in tracked if f.endswith((".cpp", ".h", ".py", ".pyi"))} - links <= names
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE"} <= names


@pytest.mark.slow
def test_a_source_archive_installs(tmp_path: Path) -> None:
    """Compiled from what the archive holds, and run."""
    (archive,) = built(tmp_path, ("--sdist",), None)
    python, borrowed = environment(tmp_path / "venv"), sysconfig.get_paths()["purelib"]
    install(python, "--no-deps", "--no-index", "--no-build-isolation", archive, PYTHONPATH=borrowed, CXXFLAGS="-O0")
    code = "import dfer_edge._cpu; print(dfer_edge._cpu.__file__)"
    printed = call(python, "-c", code, cwd=tmp_path, PYTHONPATH=borrowed)
    assert Path(printed.strip()).is_relative_to(tmp_path)


def test_sizes_are_bounded(wheel: Path) -> None:
    """What a board downloads: the wheel, most of it weights."""
    megabytes = wheel.stat().st_size / 1e6
    print(f"{wheel.name}: {megabytes:.1f} MB")
    assert megabytes < 45


@pytest.mark.parametrize("where", ["repository root", "elsewhere"])
@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_imports_from_everywhere(kind: str, where: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    python: Path = request.getfixturevalue(f"{kind}_python")
    borrowed = sysconfig.get_paths()["purelib"]
    printed = call(python, "-c", WHERE, cwd=ROOT if where == "repository root" else tmp_path, PYTHONPATH=borrowed)
    package, kernels, calibration = (Path(line).resolve() for line in printed.split())
    in_checkout = kind == "editable" or where == "repository root"
    assert package.is_relative_to(ROOT) == in_checkout
    assert kernels.is_relative_to(ROOT) == in_checkout
    assert calibration.parent.name == "calibration"


def test_prediction_with_core_dependencies_only(wheel: Path, tmp_path: Path) -> None:
    """A real install of the wheel and nothing more: no torch, no OpenVINO, no matplotlib."""
    python = environment(tmp_path / "venv")
    install(python, "--no-compile", wheel)
    absent = "import importlib.util as u; print([n for n in ('torch', 'openvino', 'matplotlib') if u.find_spec(n)])"
    assert call(python, "-c", absent, cwd=tmp_path).strip() == "[]"
    installed = sum(path.stat().st_size for path in (tmp_path / "venv").rglob("*") if not path.is_symlink()) / 1e6
    print(f"minimal install: {installed:.0f} MB")
    assert installed < 800
    cache = {"DFER_EDGE_CACHE": str(tmp_path / "cache")}
    command = python.with_name("dfer-edge")
    printed = call(command, "predict", ASTRONAUT, "--weights", "random", cwd=tmp_path, **cache)
    assert "summary: " in printed
    assert "onnxruntime fp32" in printed
    report = call(command, "doctor", cwd=tmp_path, **cache)
    assert "openvino is not installed" in report
    assert "C++17, compiler" in report
    refused = (
        "import dfer_edge\ntry: dfer_edge.models.create_model('slowr50')\nexcept dfer_edge.DferError as e: print(e)"
    )
    assert 'pip install "dfer-edge[torch]"' in call(python, "-c", refused, cwd=tmp_path)


def test_openvino_reports_nothing_home(tmp_path: Path) -> None:
    """Its import would leave an identifier in the home folder and call its vendor."""
    pytest.importorskip("openvino")
    code = "import sys; from dfer_edge import engines; engines.choose('openvino'); print('openvino' in sys.modules)"
    assert call(sys.executable, "-c", code, cwd=ROOT, HOME=str(tmp_path)).strip() == "True"
    assert not list(tmp_path.rglob("*openvino*"))


@pytest.mark.slow
def test_types_help_whoever_uses_it(editable_python: Path, tmp_path: Path) -> None:
    """Editors and mypy see the package, and options that do not exist."""
    if editable_python != Path(sys.executable):
        pytest.skip("mypy is in this environment, which is no editable install of this checkout")
    (tmp_path / "user.py").write_text(
        "import dfer_edge\n"
        'recognizer = dfer_edge.Recognizer("slowr50_sa", engine="openvino")\n'
        'prediction = recognizer.predict("video.mp4", faces="cropped")\n'
        "reveal_type(prediction.confidence)\n"
        'dfer_edge.Recognizer("nope")\n'
        'dfer_edge.Recognizer("smate", precision="int9")\n'
        'recognizer.predict("video.mp4", faces="crops")\n'
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "user.py"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    assert 'Revealed type is "builtins.float"' in found or 'Revealed type is "float"' in found
    errors = [line for line in found.splitlines() if ": error:" in line]
    assert [line.split(":")[1] for line in errors] == ["5", "6", "7"]
    assert all("Literal[" in line for line in errors)


def test_import_is_cheap() -> None:
    """No torch, no OpenCV, no engine until first use."""
    heavy = "import sys, dfer_edge; dfer_edge.Prediction; dfer_edge.DferError; dfer_edge.list_models(); "
    heavy += "import dfer_edge.cli.main; dfer_edge.cli.main.parser(); "
    check = heavy + "print([m for m in ('torch', 'cv2', 'onnx', 'onnxruntime', 'openvino') if m in sys.modules])"
    assert call(sys.executable, "-c", check, cwd=ROOT).strip() == "[]"
