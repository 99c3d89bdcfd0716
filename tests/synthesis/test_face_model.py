"""Loading the morphable face: both published forms, and everything that can be wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dfer_edge.errors import CorruptArtifact, DferError, SourceNotFound
from dfer_edge.synthesis import FaceModel, FaceRenderer, load_face_model
from dfer_edge.synthesis import face_model as parts
from dfer_edge.synthesis.obj import LANDMARKS, NEUTRAL
from tests.synthesis import fake_model


def _obj(path: Path, vertices: np.ndarray, raw: dict[str, np.ndarray] | None = None) -> None:
    np.savetxt(path, vertices, "v %.6f %.6f %.6f")
    lines = []
    if raw is not None:
        last = -1
        for face, material in zip(raw["faces"], raw["face_material"], strict=True):
            if material != last:
                lines.append(f"usemtl {raw['material_names'][material]}")
                last = material
            lines.append("f " + " ".join(f"{corner + 1}/1" for corner in face if corner >= 0))
    with path.open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake model as a folder, as it is published."""
    folder, raw = tmp_path_factory.mktemp("published"), fake_model.arrays()
    _obj(folder / NEUTRAL, raw["neutral"], raw)
    for number, mode in enumerate(raw["identity"][:2]):
        _obj(folder / f"identity{number:03d}.obj", raw["neutral"] + mode)
    for name, shape in zip(raw["expression_names"], raw["expression"], strict=True):
        _obj(folder / f"{name}.obj", raw["neutral"] + shape)
    return folder


def test_the_published_folder_and_the_npz_are_one_model(tmp_path: Path, published: Path) -> None:
    raw = fake_model.arrays()
    raw["landmarks68"] = np.array(LANDMARKS)  # a folder has those of the published model
    np.savez(tmp_path / "m.npz", **raw)
    folder, single = load_face_model(published), load_face_model(tmp_path / "m.npz")
    np.testing.assert_allclose(folder.neutral, single.neutral, atol=1e-5)
    np.testing.assert_array_equal(folder.triangles, single.triangles)
    np.testing.assert_array_equal(folder.materials, single.materials)
    np.testing.assert_array_equal(folder.landmarks, single.landmarks)
    np.testing.assert_allclose(folder.identity, single.identity[:2], atol=1e-5)
    for name in folder.shape_names:
        got, want = (model.expression[model.shape_index[name]] for model in (folder, single))
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_landmarks_of_the_npz_are_the_published_ones(ict_path: Path) -> None:
    with np.load(ict_path) as archive:
        assert tuple(archive["landmarks68"]) == LANDMARKS


def test_parts_of_the_model(ict: FaceRenderer) -> None:
    model: FaceModel = ict.model
    assert set(np.unique(model.materials)) == {
        parts.SKIN, parts.LEFT_EYE, parts.RIGHT_EYE, parts.LASH, parts.GUM, parts.TEETH, parts.SOCKET
    }  # fmt: skip
    left, right = model.neutral[model.eyes[0] : model.eyes[1]], model.neutral[model.eyes[2] : model.eyes[3]]
    assert left[:, 0].min() > 1 > -1 > right[:, 0].max(), "the subject's left is at positive x"
    assert set(model.vertices_of(parts.LEFT_EYE)) <= set(range(model.eyes[0], model.eyes[1]))
    teeth = model.openness[model.vertices_of(parts.TEETH)]
    assert teeth.min() < 0.4 < 0.9 < teeth.max()
    assert (model.openness[model.skin] == 1).all()


def test_nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DFER_EDGE_FACE_MODEL", raising=False)
    with pytest.raises(SourceNotFound, match=r"none is named.*DFER_EDGE_FACE_MODEL"):
        load_face_model()


def test_the_environment_names_it(monkeypatch: pytest.MonkeyPatch, fake_path: Path) -> None:
    monkeypatch.setenv("DFER_EDGE_FACE_MODEL", str(fake_path))
    assert load_face_model().identity.shape[0] == 3


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="found nothing"):
        load_face_model(tmp_path / "no.npz")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_npz(tmp_path: Path, fake_path: Path, share: float) -> None:
    data = fake_path.read_bytes()
    broken = tmp_path / "broken.npz"
    broken.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CorruptArtifact, match=r"broken\.npz"):
        load_face_model(broken)


def _changed(tmp_path: Path, **changes: np.ndarray | None) -> Path:
    raw = {name: value for name, value in (fake_model.arrays() | changes).items() if value is not None}
    np.savez(tmp_path / "changed.npz", **raw)
    return tmp_path / "changed.npz"


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"identity": None}, "identity"),
        ({"neutral": np.zeros((7, 3))}, "26719"),
        ({"neutral": np.zeros((26719, 2))}, "vertices: .26719, 3."),
        ({"faces": np.zeros((5, 3), int), "face_material": np.zeros(5, int)}, "polygons: .4,."),
        ({"faces": np.full((5, 4), -1), "face_material": np.zeros(5, int)}, "at least three corners"),
        ({"faces": np.full((5, 4), 26719), "face_material": np.zeros(5, int)}, "26718 as faces"),
        ({"faces": np.zeros((0, 4), int), "face_material": np.zeros(0, int)}, "as faces"),
        ({"faces": np.zeros((5, 4)), "face_material": np.zeros(5, int)}, "whole numbers .* as faces"),
        ({"faces": np.zeros((5, 4), int), "face_material": np.full(5, 3)}, "0 to 2 as face_material"),
        ({"faces": np.zeros((5, 4), int), "face_material": np.full(5, -1)}, "0 to 2 as face_material"),
        ({"landmarks68": np.zeros(5, int)}, "landmarks"),
        ({"landmarks68": np.full(68, 26719)}, "landmarks"),
        ({"expression_names": np.array(["a"])}, "shape names"),
        ({"landmarks68": np.zeros(68)}, "whole numbers .* as landmarks"),
        ({"neutral": np.full((26719, 3), np.nan)}, "finite"),
        ({"neutral": np.array(["x"], dtype=object)}, "cannot read"),
    ],
)
def test_another_topology(tmp_path: Path, changes: dict[str, np.ndarray | None], what: str) -> None:
    with pytest.raises(CorruptArtifact, match=what):
        load_face_model(_changed(tmp_path, **changes))


def test_a_shape_that_action_units_need(tmp_path: Path) -> None:
    """Without jawOpen no mouth would open, and nothing else would tell."""
    names = fake_model.arrays()["expression_names"]
    path = _changed(tmp_path, expression_names=np.where(names == "jawOpen", "jawOpens", names))
    with pytest.raises(CorruptArtifact, match="expected expression shapes with jawOpen"):
        load_face_model(path)
    with pytest.raises(CorruptArtifact, match="expected expression shapes with jawLeft"):
        load_face_model(_changed(tmp_path, expression_names=np.where(names == "jawLeft", "left", names)))
    one_side = np.where(names == "mouthSmile_L", "smile_L", names)
    with pytest.raises(CorruptArtifact, match="expected expression shapes with mouthSmile"):
        load_face_model(_changed(tmp_path, expression_names=one_side))


@pytest.mark.parametrize("damage", ["no neutral", "no shapes", "short shape", "words", "no polygons", "five corners"])
def test_a_broken_folder(tmp_path: Path, published: Path, damage: str) -> None:
    folder = tmp_path / "FaceXModel"
    folder.mkdir()
    for path in published.iterdir():
        (folder / path.name).symlink_to(path)
    shape = next(path for path in folder.glob("*.obj") if not path.name.startswith(("identity", "generic")))
    neutral = folder / NEUTRAL
    text = neutral.read_text()
    if damage == "no neutral":
        neutral.unlink()
    elif damage == "no shapes":
        for path in folder.glob("identity*.obj"):
            path.unlink()
    elif damage == "short shape":
        _replace(shape, "v 0 0 0\n")
    elif damage == "words":
        _replace(shape, "v here there everywhere\n")
    elif damage == "no polygons":
        _replace(neutral, "\n".join(line for line in text.splitlines() if line[0] == "v"))
    else:
        _replace(neutral, text + "f 1 2 3 4 5\n")
    with pytest.raises(CorruptArtifact):
        load_face_model(folder)


def _replace(link: Path, text: str) -> None:
    link.unlink()
    link.write_text(text)


def test_errors_are_of_the_hierarchy() -> None:
    assert issubclass(CorruptArtifact, DferError)
    assert issubclass(SourceNotFound, FileNotFoundError)
