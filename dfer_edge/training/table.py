"""The table of recipes: the papers', and ``renders`` for synthetic faces.

[P] printed in the paper, [C] convention of the cited source, [D] our default where the paper is silent.
"""

from __future__ import annotations

import dataclasses

from dfer_edge.errors import InvalidInput
from dfer_edge.faces.aligned import ABOVE
from dfer_edge.inference import registry
from dfer_edge.training.recipes import Crop, Losses, Optimiser, Pixels, Recipe, Sampling, Schedule, Stage

# Paper 000, SlowR50-SA. Flip, random crop, colour jitter [P]; their strengths [D]; one random frame of each of 8
# segments, short side to 224 then a crop of 196 [D]; batch 32 and cross-entropy [D].
_SLOW_CROP = Crop(around="resize", resize=224)
_SLOW_PIXELS = Pixels(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05)
_SLOW_FIRST = Stage(
    epochs=100,  # [P]
    batch=32,  # [D]
    optimiser=Optimiser("adamw", lr=5e-4, weight_decay=0.05),  # [P]
    crop=_SLOW_CROP,
    pixels=_SLOW_PIXELS,
)
# "Then the best model 30 epochs at 5e-5" [P]: the rate falls after the best epoch so far.
_SLOW_SECOND = dataclasses.replace(
    _SLOW_FIRST, epochs=30, optimiser=Optimiser("adamw", lr=5e-5, weight_decay=0.05), start="best"
)
_SLOW = Recipe(
    name="slowr50_sa",
    source="Neshov et al., Electronics 2024, 13, 1606",
    stages=(_SLOW_FIRST, _SLOW_SECOND),
    pretrained="Kinetics-400 slow_r50 8x8 (pytorchvideo)",  # implied by "fine-tuned"
    select="war",  # Fig. 5 chooses epochs by accuracy
)

# Paper 001, SMaTE: no optimiser, rate, epochs or batch is printed. All of them [D, C: Scenic's ViViT configuration].
# Rotation of 2, 5 or 7 degrees, crop, flip, colour jitter or grey [P]. Mixed tokens of three augmented clips [D]:
# geometric, colour, LBP.
_SMATE = Recipe(
    name="smate",
    source="Kim, Cho, Bae, Sensors 2022, 22, 5753",
    stages=(
        Stage(
            epochs=30,
            batch=64,
            optimiser=Optimiser("sgd", lr=5e-2, lr_batch=64, momentum=0.9),
            schedule=Schedule("cosine", warmup_epochs=2.5),
            # 25 frames at stride 2 on CK+, 3 on AFEW [P].
            sampling=Sampling("stride", stride=3),
            crop=Crop(around="resize", resize=256),  # [P]
            mixed=(
                Pixels(),
                Pixels(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, grey=0.5),
                Pixels(lbp=1.0),
            ),
            mixed_rotation_deg=(2.0, 5.0, 7.0),
        ),
    ),
    clip_gradient=1.0,
    # "Affine alignment" [P] by 68 points: turned and scaled, so laid by landmarks and levelled.
    face_box="landmarks",
    level=True,
    pretrained="Kinetics-400 ViViT-B/16x2 FE (Scenic)",  # [P]
    select="war",  # its metric is top-1 accuracy [P]
)

# Side of the square crop of paper 002 in heights of a face box that landmarks lay: it ends a little above the brows and
# below the lower lip.
EYES_TO_MOUTH = 0.7

# Paper 002, the VGG family; no augmentation is stated, so none. All printed results of the base are after 100 epochs
# too; "450 to match" is a remark, and a variant of the reproduction.
_VGG_STAGE = Stage(
    epochs=100,  # [P]
    batch=128,  # [P]
    # [P], constant; momentum, L2 and that biases are spared are MATLAB's [C].
    optimiser=Optimiser("sgd", lr=1e-4, momentum=0.9, weight_decay=1e-4, decay_norms=False),
    frames=1,
    sampling=Sampling("random"),
    crop=Crop(flip=0.0),
)
_VGG = Recipe(
    name="vgg",
    source="Arabian et al., Appl. Sci. 2023, 13, 10179",
    stages=(_VGG_STAGE,),
    losses=Losses(class_weights=True, guidance="template"),  # [P]; the mask's shape [D]
    # From the brows above the pair of eyes to the lower lip [P]; landmarks in place of two Viola-Jones boxes [D].
    face_box="landmarks",
    face_margin=EYES_TO_MOUTH,
    drop_lost=True,  # [P]
)

# Paper 003.
_KEYPOINT = Recipe(
    name="keypoint_tsa",
    source="Huang et al., Engineering Applications of Artificial Intelligence 2024, 108535",
    stages=(
        Stage(
            epochs=80,  # [P]
            batch=64,  # [P]
            optimiser=Optimiser("adam", lr=1e-3, betas=(0.9, 0.99)),  # [P]
            schedule=Schedule("steps", milestones=(40, 60), factor=0.1),  # [P]
            sampling=Sampling("pairs", min_frames=16),  # [D, C: Former-DFER]
            crop=Crop(area=(0.8, 1.0), aspect=(0.9, 1.1)),  # random resized crop, flip [C]; their strengths [D]
        ),
    ),
    losses=Losses(auxiliary=(0.2, 0.8)),  # [P]
    pretrained="ImageNet resnet18 (torchvision)",  # [D]
)

# Paper 004. Epochs, schedule and augmentation are not stated; a flip of half of the clips is our default [D].
_R2PLUS1D = Recipe(
    name="r2plus1d_sta",
    source="Singh et al., 3D-CNN deep features discrimination, doi 10.5281/zenodo.777609",
    stages=(
        Stage(
            epochs=50,  # [D]
            batch=32,  # [P]
            optimiser=Optimiser("adam", lr=1e-3),  # [P]
            sampling=Sampling("random"),  # 16 frames at random [P]
        ),
    ),
    # Eq. 6 has no weight, so 1 [P]; the centres' SGD at 0.5 [C: DACL].
    losses=Losses(sparse_centre=1.0, centre_lr=0.5),
    options=(("loss_branch", True),),
    pretrained="Kinetics-400 r2plus1d_18 (torchvision)",  # [D]; "ImageNet" is printed
)

# Rendered faces on a CPU, all [D]. A tight crop where landmarks lay it, images before clips, small before large. All
# pixels are grey: renders and cameras differ most in colour, and the grey conversion is folded into the first layer on
# export.
_RENDER_CROP = Crop(
    around="landmarks",
    side=(1.85, 2.45),
    centre=(0.0, -ABOVE),
    shift_sd=(0.08, 0.08),
    follow=(0.5, 1.0),
    rotation_deg=(-10.0, 10.0),
)
# Photographs are sharp and of high contrast beside renders: little blur and noise, often a sharper picture.
_RENDER_PIXELS = Pixels(
    grey=1.0,
    brightness=0.15,
    contrast=0.4,
    gamma_sd=0.2,
    resample=0.35,
    resample_scale=(0.45, 1.0),
    blur=0.12,
    sharpen=0.4,
    light=0.3,
    noise=0.25,
    noise_sd=(1.0, 6.0),
    jpeg=0.3,
    cutout=0.12,
)
_RENDER_OPTIMISER = Optimiser("adamw", lr=1e-3, lr_batch=64, weight_decay=0.05, decay_norms=False)
_RENDER_IMAGES = Stage(
    epochs=4,
    batch=64,
    optimiser=_RENDER_OPTIMISER,
    schedule=Schedule("cosine", warmup_epochs=0.3, final=0.1),
    frames=1,
    size=64,
    crop=_RENDER_CROP,
    pixels=_RENDER_PIXELS,
    centre_taps=True,
)
_RENDERS = Recipe(
    name="renders",
    source="dfer_edge: synthetic faces only",
    stages=(
        _RENDER_IMAGES,
        dataclasses.replace(
            _RENDER_IMAGES,
            epochs=1,
            size=96,
            optimiser=dataclasses.replace(_RENDER_OPTIMISER, lr=6e-4),
            schedule=Schedule("cosine", warmup_epochs=0.03, final=0.02),
            start="ema",
        ),
        dataclasses.replace(
            _RENDER_IMAGES,
            epochs=2,
            batch=16,
            frames=0,
            size=96,
            optimiser=dataclasses.replace(_RENDER_OPTIMISER, lr=4e-4),
            schedule=Schedule("cosine", warmup_epochs=0.1, final=0.02),
            start="ema",
            centre_taps=False,
        ),
    ),
    # The auxiliary heads are what a deep network learns first from nothing: landmarks weigh most.
    losses=Losses(label_smoothing=0.05, units=3.0, landmarks=8.0, intensity=0.2),
    clip_gradient=5.0,
    ema=0.995,
    weak_residuals=True,
    # Of a box 2.8 s high: 2.1 s, within the crops above.
    face_margin=0.75,
    face_box="landmarks",
    select="log_loss",
)

# A few clips of one's own on trained weights, all [D]: only what reads the features learns, so twenty clips cannot
# spoil them; nothing is kept that is worse than the start.
_TRUNKS = {
    "slowr50": ("stem", "stages"),
    "smate": ("embedding", "spatial"),
    "vgg": ("stages", "gates", "head.fc6"),
    "keypoint": ("backbone", "triplet", "regions"),
    "r2plus1d": ("stem", "stages"),
}
_FINETUNE = Recipe(
    name="finetune",
    source="dfer_edge: a few clips on trained weights",
    stages=(
        Stage(
            epochs=30,
            batch=4,
            optimiser=Optimiser("adamw", lr=1e-4, weight_decay=0.01, decay_norms=False),
            schedule=Schedule("cosine", warmup_epochs=1.0),
            crop=Crop(area=(0.85, 1.0), rotation_deg=(-8.0, 8.0)),
            pixels=Pixels(brightness=0.2, contrast=0.2, saturation=0.2, blur=0.1, noise=0.2),
        ),
    ),
    losses=Losses(label_smoothing=0.05),
    ema=0.95,
    select="log_loss",
    keeps_start=True,
)

_PAPERS = {
    "slowr50_sa": _SLOW,
    "slowr50": dataclasses.replace(_SLOW, name="slowr50"),
    "smate": _SMATE,
    **{name: dataclasses.replace(_VGG, name=name) for name in ("agfer", "sefer", "cbamfer", "vgg16_fer")},
    "keypoint_tsa": _KEYPOINT,
    "r2plus1d_sta": _R2PLUS1D,
}


def list_recipes() -> list[str]:
    """Names that :func:`find_recipe` takes."""
    return ["paper", "renders", "finetune"]


def find_recipe(name: str, model: str) -> Recipe:
    """The recipe ``"paper"`` of a network, ``"finetune"`` for it, or ``"renders"``.

    Raises
    ------
    InvalidInput
        For another name.
    """
    if name == "paper" and model in _PAPERS:
        return _PAPERS[model]
    if name == "renders":
        return _RENDERS
    if name == "finetune" and model in _PAPERS:
        frozen = _TRUNKS[registry.find(model).family]
        return dataclasses.replace(_FINETUNE, stages=(dataclasses.replace(_FINETUNE.stages[0], frozen=frozen),))
    raise InvalidInput(
        f"expected a recipe out of {', '.join(list_recipes())} and a known model; got {name!r}, {model!r}"
    )
