// Crop, resample, normalise on the GPU, ring 2: launches on the caller's stream, no allocation, no synchronisation.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "common/affine.h"
#include "common/dtypes.h"

namespace dfer {

// Frames [T] of `height` x `width` pixels, RGB or NV12; strides in bytes.
struct CropFrames {
  const std::uint8_t* data;
  std::int64_t count, height, width, frame_stride, row_stride;
  bool nv12;
};

// Boxes int32 [clips, T, 4] in device memory: left, top, right, bottom.
struct CropBoxes {
  const std::int32_t* data;
  std::int64_t clips;
};

// Where crop (n, t) goes, in elements: data + n * clip_stride + t * frame_stride, and for planes + c * plane_stride.
struct CropTarget {
  void* data;
  std::int64_t clip_stride, plane_stride, frame_stride;
  int height, width;
};

struct CropAffine {
  Affine channel[3];
};

// uint8 crops [height, width, 3].
cudaError_t crop_pixels(CropFrames frames, CropBoxes boxes, CropTarget target, cudaStream_t stream);

// Three planes [height, width] of float32, float16 or bfloat16.
cudaError_t crop_planes(CropFrames frames, CropBoxes boxes, CropTarget target, CropAffine affine, DType dtype,
                        cudaStream_t stream);

}  // namespace dfer
