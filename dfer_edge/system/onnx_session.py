"""ONNX Runtime sessions on the CPU, with one set of options for expression and landmark networks."""

from __future__ import annotations

from typing import Any

from dfer_edge.errors import CorruptArtifact


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

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Idle threads that spin take the cores from decoding and detection.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
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
