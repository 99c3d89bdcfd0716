"""`keypoint_tsa` in training form (paper 003: Huang et al., Eng. Appl. AI 2024, 108535; models.md section 4)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from dfer_edge.errors import InvalidInput
from dfer_edge.inference.keypoint import BLOCKS, CLASSES, HEAD_WIDTH, STAGES, WIDTH
from dfer_edge.inference.keypoint_graph import CHEEKS, GROUPS, LANDMARKS, POINTS, links
from dfer_edge.inference.keypoint_options import VARIED, Options
from dfer_edge.models.backbone import norm_keys
from dfer_edge.spec import ModelSpec

# L = 0.2 L_S + 0.8 L_T: auxiliary (spatial) and temporal cross-entropy.
LOSS_WEIGHTS = (0.2, 0.8)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm; the stride is in the first."""

    def __init__(self, channels: int, out: int, stride: int, project: bool) -> None:
        super().__init__()
        self.conv_a = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.norm_a = nn.BatchNorm2d(out)
        self.conv_b = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.norm_b = nn.BatchNorm2d(out)
        self.project = project
        if project:
            self.shortcut_conv = nn.Conv2d(channels, out, 1, stride, bias=False)
            self.shortcut_norm = nn.BatchNorm2d(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = self.shortcut_norm(self.shortcut_conv(x)) if self.project else x
        y = torch.relu(self.norm_a(self.conv_a(x)))
        return torch.relu(identity + self.norm_b(self.conv_b(y)))


class Backbone(nn.Module):
    """ResNet-18 without pooling and classifier: [N, 3, H, W] -> [N, 512, H / 8, W / 8] at ``last_strides`` (1, 1)."""

    def __init__(self, last_strides: tuple[int, int]) -> None:
        super().__init__()
        self.stem_conv = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.stem_norm = nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, 2, 1)
        stages, channels = [], 64
        for stage, (width, stride) in enumerate(zip(STAGES, (1, 2, *last_strides), strict=True)):
            first = BasicBlock(channels, width, stride, project=stage > 0)
            rest = [BasicBlock(width, width, 1, project=False) for _ in range(BLOCKS - 1)]
            stages.append(nn.Sequential(first, *rest))
            channels = width
        self.stages = nn.Sequential(*stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = self.stages(self.pool(torch.relu(self.stem_norm(self.stem_conv(frames)))))
        return x


class TripletGate(nn.Module):
    """sigmoid(BN(conv7x7([max, mean]))), pooled over one axis of [N, C, H, W] (1: channels, 2: height, 3: width)."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.conv = nn.Conv2d(2, 1, 7, 1, 3, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The gate with a unit axis where it was pooled: [N, 1, H, W], [N, C, 1, W] or [N, C, H, 1]."""
        pooled = torch.stack([x.amax(self.axis), x.mean(self.axis)], 1)
        return torch.sigmoid(self.norm(self.conv(pooled))).squeeze(1).unsqueeze(self.axis)


class TripletAttention(nn.Module):
    """F = x (g1 + g2 + g3) / 3 with gates pooled over C, over H (map C x W) and over W (map C x H)."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.ModuleList([TripletGate(axis) for axis in (1, 2, 3)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        over_channels, over_height, over_width = (gate(x) for gate in self.gates)
        gated: torch.Tensor = x * (over_channels + over_height + over_width) / 3
        return gated


class KeyPointPooling(nn.Module):
    """v_j = mean over cells of F * A_j for 18 Gaussian heat maps A_j, and v_g = mean of F.

    Parameters
    ----------
    options
        ``sigma_fraction`` and ``norm_heat``.
    size
        Side of the input image in pixels.
    """

    points: torch.Tensor
    cheeks: torch.Tensor

    def __init__(self, options: Options, size: int) -> None:
        super().__init__()
        self.options, self.size = options, size
        self.register_buffer("points", torch.tensor(POINTS), persistent=False)
        self.register_buffer("cheeks", torch.tensor(CHEEKS), persistent=False)

    def nodes(self, landmarks: torch.Tensor) -> torch.Tensor:
        """[N, 68, 2] -> [N, 18, 2], both in pixels."""
        return torch.cat([landmarks[:, self.points], landmarks[:, self.cheeks].mean(2)], 1)

    def log_maps(self, landmarks: torch.Tensor, side: int) -> torch.Tensor:
        """Logarithm of the heat maps [N, 18, S, S], peak 0, from landmarks [N, 68, 2] in pixels."""
        centres = (self.nodes(landmarks) + 0.5) * (side / self.size) - 0.5  # [N, 18, 2], cells
        grid = torch.arange(side, dtype=landmarks.dtype, device=landmarks.device)
        dx = grid.view(1, 1, 1, side) - centres[..., 0, None, None]
        dy = grid.view(1, 1, side, 1) - centres[..., 1, None, None]
        sigma_cells = self.options.sigma_fraction * side
        return (dx.square() + dy.square()) / (-2 * sigma_cells**2)

    def forward(self, features: torch.Tensor, landmarks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """V [N, 18, 512] and v_g [N, 512] of F [N, 512, S, S]."""
        cells = features.flatten(2)  # [N, 512, S*S]
        log_maps = self.log_maps(landmarks, features.shape[-1]).flatten(2)
        # Softmax is A / sum(A) that stays finite when a landmark lies far outside.
        maps = log_maps.softmax(-1) if self.options.norm_heat else log_maps.exp() / cells.shape[-1]
        return maps @ cells.transpose(1, 2), cells.mean(-1)


class RegionGraph(nn.Module):
    """Graph convolution over the nodes and fusion of regions (paper 003, graph part).

    w = ReLU((V W_l) v_g), taken as V (W_l v_g): the same product with 17 times fewer MACs.
    V' = ReLU(FC((w * A) V + V)), g' = ReLU(FC(v_g)); output: means of the three regions and g', 4 x 128. Variants of
    Table 10 put the mean of all nodes, or the last state of an LSTM over them, in place of the regions, 2 x 256.

    W_l is full, 512 x 512, and starts as I / sqrt(512), the scale of a dot-product attention. V and v_g are means of
    values >= 0, so w starts positive; a random sign can leave the ReLU dead for whole frames.
    """

    links: torch.Tensor

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.scale_rows = options.node_scale == "row"
        self.relation = nn.Linear(WIDTH, WIDTH, bias=False)  # W_l
        width = options.node_width
        self.fusion = options.fusion
        self.fc = nn.Linear(WIDTH, width)
        self.kept_fc = nn.Linear(WIDTH, CLASSES) if options.kept_fc else nn.Identity()
        self.global_fc = nn.Linear(CLASSES if options.kept_fc else WIDTH, width) if options.own_fc else None
        self.sequence = nn.LSTM(width, width, batch_first=True) if options.fusion == "lstm" else None
        # Zeros and ones survive every cast of the module; the row sums are taken on use.
        self.register_buffer("links", torch.tensor(links(options.self_loop), dtype=torch.float32), persistent=False)
        with torch.no_grad():
            self.relation.weight.copy_(torch.eye(WIDTH) / math.sqrt(WIDTH))

    def node_weights(self, nodes: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
        """w [N, 18, 1] of V [N, 18, 512] and v_g [N, 512]."""
        return torch.relu(nodes @ self.relation(whole).unsqueeze(-1))

    def convolve(self, nodes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """V' [N, 18, 128], 256 wide in the variants."""
        adjacency = self.links / self.links.sum(1, keepdim=True)
        scaled = (weights if self.scale_rows else weights.transpose(1, 2)) * adjacency  # [N, 18, 18]
        return torch.relu(self.fc(scaled @ nodes + nodes))

    def forward(self, nodes: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
        """Fused vectors [N, 512]: left eye, right eye, mouth and cheeks, whole face."""
        convolved = self.convolve(nodes, self.node_weights(nodes, whole))
        groups = [convolved[:, group[0] : group[-1] + 1] for group in GROUPS]
        regions = [group.mean(1) for group in groups]
        if self.sequence is not None:
            regions = [self.sequence(torch.cat(groups, 1))[0][:, -1]]
        elif self.fusion == "mean":
            regions = [torch.cat(groups, 1).mean(1)]
        whole = torch.relu((self.global_fc or self.fc)(self.kept_fc(whole)))
        return torch.cat([*regions, whole], 1)


class TemporalBlock(nn.Module):
    """Pre-LN transformer block: x + MSA(LN(x)), x + MLP(LN(x)); 8 heads, qkv without and output with bias.

    The activation of the MLP is not stated; we take GELU in its exact form.
    """

    def __init__(self, mlp_width: int, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.norm_a = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * heads * HEAD_WIDTH, bias=False)
        self.out = nn.Linear(heads * HEAD_WIDTH, WIDTH)
        self.norm_b = nn.LayerNorm(WIDTH)
        self.fc_a = nn.Linear(WIDTH, mlp_width)
        self.fc_b = nn.Linear(mlp_width, WIDTH)

    def attend(self, tokens: torch.Tensor) -> torch.Tensor:
        """Multi-head self-attention over [B, L, 512]."""
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [B, 8, L, 64]
        scores = query @ key.transpose(-1, -2) / math.sqrt(HEAD_WIDTH)
        mixed: torch.Tensor = self.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))
        return mixed

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.attend(self.norm_a(tokens))
        mixed: torch.Tensor = tokens + self.fc_b(F.gelu(self.fc_a(self.norm_b(tokens))))
        return mixed


class TemporalTransformer(nn.Module):
    """[B, T, 512] -> cls vector [B, 512]: learned cls and positions, three blocks, no final norm."""

    def __init__(self, frames: int, options: Options) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.empty(1, 1, WIDTH))
        self.position = nn.Parameter(torch.empty(1, frames + 1, WIDTH))
        blocks = (TemporalBlock(options.mlp_width, options.heads) for _ in range(options.depth))
        self.blocks = nn.Sequential(*blocks)
        for table in (self.cls, self.position):
            nn.init.trunc_normal_(table, std=0.02)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        tokens = torch.cat([self.cls.expand(len(features), -1, -1), features], 1) + self.position
        vector: torch.Tensor = self.blocks(tokens)[:, 0]
        return vector


class TemporalMean(nn.Module):
    """[B, T, 512] -> [B, 512]: the mean over frames."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.mean(1)


class TemporalLSTM(nn.Module):
    """[B, T, 512] -> [B, 512]: the last state of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.sequence = nn.LSTM(WIDTH, WIDTH, batch_first=True)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.sequence(features)[0]
        return states[:, -1]


class Head(nn.Module):
    """Optional layer norm and one linear layer: [B, 512] -> [B, K]."""

    def __init__(self, num_classes: int, norm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH) if norm else nn.Identity()
        self.classifier = nn.Linear(WIDTH, num_classes)

    def forward(self, vector: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.norm(vector))
        return logits


class KeypointTSA(nn.Module):
    """Key-point regions fused in each frame, temporal self-attention over frames.

    Inputs: clip [B, 3, 16, 112, 112], normalised RGB, and landmarks [B, 16, 68, 2] in input pixels, x then y.

    Parameters
    ----------
    spec
        Its options are those of :class:`dfer_edge.inference.keypoint_options.Options`.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec, options = spec, Options.of(spec)
        self.backbone = Backbone(options.last_strides)
        self.triplet = TripletAttention()
        self.pooling = KeyPointPooling(options, spec.size)
        self.regions = RegionGraph(options) if options.fusion != "none" else None
        self.temporal: nn.Module = TemporalMean() if options.temporal == "mean" else TemporalLSTM()
        if options.temporal == "attention":
            self.temporal = TemporalTransformer(spec.frames, options)
        self.head = Head(spec.num_classes, options.final_norm)
        self.auxiliary = Head(spec.num_classes, options.final_norm)

    def frame_features(self, frames: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
        """Fused vectors [N, 512] of frames [N, 3, H, W] and landmarks [N, 68, 2]; frames do not see each other."""
        return self.fused(self.maps(frames), landmarks)

    def maps(self, frames: torch.Tensor) -> torch.Tensor:
        """Gated features F [N, 512, S, S] of frames."""
        gated: torch.Tensor = self.triplet(self.backbone(frames))
        return gated

    def fused(self, maps: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
        """Fused vectors [N, 512] of maps and landmarks [N, 68, 2]."""
        nodes, whole = self.pooling(maps, landmarks)
        fused: torch.Tensor = whole if self.regions is None else self.regions(nodes, whole)
        return fused

    def forward_features(self, clip: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
        """Fused vectors [B, T, 512].

        Raises
        ------
        InvalidInput
            If clip or landmarks do not have the shapes of the spec.
        """
        wanted = (self.spec.input_shape, (self.spec.frames, LANDMARKS, 2))
        if (clip.shape[1:], landmarks.shape[1:]) != wanted or len(clip) != len(landmarks):
            raise InvalidInput(
                f"expected a clip [B, {wanted[0]}] and landmarks [B, {wanted[1]}], "
                f"got {tuple(clip.shape)} and {tuple(landmarks.shape)}"
            )
        fused = self.frame_features(clip.transpose(1, 2).flatten(0, 1), landmarks.flatten(0, 1))
        return fused.view(len(clip), self.spec.frames, WIDTH)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """Logits [B, K] of fused vectors [B, T, 512]."""
        logits: torch.Tensor = self.head(self.temporal(features))
        return logits

    def forward_auxiliary(self, features: torch.Tensor) -> torch.Tensor:
        """Logits [B, K] of the auxiliary head, which serves the loss only: mean over frames, one linear layer."""
        logits: torch.Tensor = self.auxiliary(features.mean(1))
        return logits

    def forward(self, clip: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
        """Logits [B, K]."""
        return self.forward_head(self.forward_features(clip, landmarks))

    def training_loss(self, clip: torch.Tensor, landmarks: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """0.2 L_S + 0.8 L_T, softmax cross-entropies of the two heads; ``labels`` [B], class indices."""
        features = self.forward_features(clip, landmarks)
        return mixed_loss(self.forward_auxiliary(features), self.forward_head(features), labels)


def mixed_loss(
    auxiliary: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor, weights: tuple[float, float] = LOSS_WEIGHTS
) -> torch.Tensor:
    """``weights[0]`` L_S + ``weights[1]`` L_T of the auxiliary and the temporal logits [B, K]."""
    return weights[0] * F.cross_entropy(auxiliary, labels) + weights[1] * F.cross_entropy(logits, labels)


def create(spec: ModelSpec, size: int | None = None, **varied: Any) -> KeypointTSA:
    """The training form of ``spec``; the options of :data:`~dfer_edge.inference.keypoint_options.VARIED` go into it.

    ``size`` is the side of the input in pixels; the paper does not print it. Default 112, as Former-DFER has it: 64
    clips of 16 frames, the paper's batch, fit its 24 GB card at 112, but not at 224.

    Raises
    ------
    InvalidInput
        For an unknown option or one out of its range.
    """
    if unknown := set(varied) - set(VARIED):
        known = ", ".join(("size", *spec.options, *VARIED))
        raise InvalidInput(f"expected options out of {known}; got {', '.join(sorted(unknown))}")
    spec = spec.with_options(**varied)
    if size is not None:
        if not isinstance(size, int) or size < 32:
            raise InvalidInput(f"expected size of at least 32 pixels, got {size!r}")
        spec = dataclasses.replace(spec, size=size)
    return KeypointTSA(spec)


def public_keys() -> dict[str, str]:
    """Own key -> key of torchvision's ``resnet18`` state dict, for every tensor that both have."""
    keys = {"backbone.stem_conv.weight": "conv1.weight", **norm_keys("backbone.stem_norm", "bn1")}
    for stage in range(len(STAGES)):
        for block in range(BLOCKS):
            own, public = f"backbone.stages.{stage}.{block}", f"layer{stage + 1}.{block}"
            for part, number in (("a", 1), ("b", 2)):
                keys[f"{own}.conv_{part}.weight"] = f"{public}.conv{number}.weight"
                keys |= norm_keys(f"{own}.norm_{part}", f"{public}.bn{number}")
        if stage > 0:
            own, public = f"backbone.stages.{stage}.0", f"layer{stage + 1}.0.downsample"
            keys[f"{own}.shortcut_conv.weight"] = f"{public}.0.weight"
            keys |= norm_keys(f"{own}.shortcut_norm", f"{public}.1")
    # With the option kept_fc alone.
    return keys | {f"regions.kept_fc.{kind}": f"fc.{kind}" for kind in ("weight", "bias")}
