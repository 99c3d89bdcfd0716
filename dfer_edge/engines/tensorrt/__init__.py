"""TensorRT and TensorRT-RTX: whatever imports or stands in for NVIDIA's library lives here, and no other engine.

:mod:`~dfer_edge.engines.tensorrt.engine` is the engine, :mod:`~dfer_edge.engines.tensorrt.library` what differs between
generations, :mod:`~dfer_edge.engines.tensorrt.build` makes an engine file, :mod:`~dfer_edge.engines.tensorrt.gate`
checks it and :mod:`~dfer_edge.engines.tensorrt.runner` runs it.
"""
