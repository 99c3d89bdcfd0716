"""ONNX Runtime sessions: on the CPU, with one set of options for expression and landmark networks, and on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dfer_edge.errors import CorruptArtifact, EngineUnavailable


def cpu_session(
    model: str | bytes,
    source: object,
    threads: int,
    what: str = "an ONNX file",
    prepack: bool = True,
    simulate: bool = False,
) -> Any:
    """A session of ``model``, a path or serialised bytes, that came from ``source`` and should be ``what``.

    ``prepack`` False leaves weights where they lie instead of copying them into another order. ``simulate`` computes
    Q/DQ pairs as they are written instead of fusing them into integer kernels.

    Raises
    ------
    CorruptArtifact
        If the model does not load.
    """
    import onnxruntime

    options = _options(threads)
    if not prepack:
        options.add_session_config_entry("session.disable_prepacking", "1")
    if simulate:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        # Without the fall-back, which prints to stdout that the processor is tried instead of the processor.
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # onnxruntime's errors share no public base class
        reason = " ".join(str(error).split())[:200]
        raise CorruptArtifact(f"expected {what} that loads, got {source}: {reason}") from error


def gpu_session(path: Path, providers: Sequence[tuple[str, dict[str, str]]], threads: int) -> Any:
    """A session of a file on a GPU, by the first of ``providers``, names with options, which the others help out.

    Raises
    ------
    EngineUnavailable
        If the first provider does not run here: ONNX Runtime would go on without it.
    CorruptArtifact
        If the model does not load.
    """
    import onnxruntime

    # The CPU's for shapes alone.
    asked = [*providers, ("CPUExecutionProvider", {})]
    names, settings = [name for name, _ in asked], [setting for _, setting in asked]
    try:
        session = onnxruntime.InferenceSession(
            str(path), _options(threads), providers=names, provider_options=settings, enable_fallback=0
        )
    except Exception as error:  # onnxruntime's errors share no public base class
        reason = " ".join(str(error).split())[:200]
        if any(word in reason for word in ("CUDA", "Provider", "TensorRT", "libcu", "libnv")):
            raise EngineUnavailable(f"{names[0]} does not run here: {reason}") from error
        raise CorruptArtifact(f"expected an ONNX file that loads, got {path}: {reason}") from error
    found = session.get_providers()
    if found[0] != names[0]:
        hint = "its CUDA and cuDNN have to be those that this onnxruntime was built for, and of the driver"
        raise EngineUnavailable(f"{names[0]} does not run here: ONNX Runtime took {found[0]} instead", hint)
    return session


def _options(threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Idle threads that spin take the cores from decoding and detection.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options
