#include "clip_to_tensor/clip_to_tensor_cuda.cuh"

#include <algorithm>

namespace dfer {

namespace {

constexpr std::int64_t kFewBlocks = 512;

template <typename Store>
cudaError_t crop(const CropFrames& frames, const CropBoxes& boxes, const CropTarget& target, Store store,
                   cudaStream_t stream) {
  if (boxes.clips * frames.count == 0 || target.height == 0 || target.width == 0) return cudaSuccess;
  const int warps = std::min((target.width + kCropAcross - 1) / kCropAcross, kCropWarps);
  // Few crops: fewer rows a block, so that there are blocks for all of a large GPU.
  const std::int64_t crops = boxes.clips * frames.count;
  int rows = kCropRows;
  while (rows > 4 && crops * target.height < rows * kFewBlocks) rows /= 2;
  const int blocks = (target.height + rows - 1) / rows;
  if (boxes.clips > 0x7fffffff || frames.count > 0xffff || blocks > 0xffff) return cudaErrorInvalidConfiguration;
  const dim3 grid(static_cast<unsigned>(boxes.clips), static_cast<unsigned>(frames.count), static_cast<unsigned>(blocks));
  const auto kernel = frames.nv12 ? crop_kernel<true, Store> : crop_kernel<false, Store>;
  const int threads = warps * kCropAcross;
  dfer::launch(kernel, grid, threads, 0, stream, frames, boxes, target.height, target.width, rows, threads, store);
  return cudaGetLastError();
}

}  // namespace

cudaError_t crop_pixels(CropFrames frames, CropBoxes boxes, CropTarget target, cudaStream_t stream) {
  return crop(frames, boxes, target, CropToPixels{target}, stream);
}

cudaError_t crop_planes(CropFrames frames, CropBoxes boxes, CropTarget target, CropAffine affine, DType dtype,
                        cudaStream_t stream) {
  switch (dtype) {
    case DType::float32: return crop(frames, boxes, target, CropToPlanes<float>{target, affine}, stream);
    case DType::float16: return crop(frames, boxes, target, CropToPlanes<__half>{target, affine}, stream);
    case DType::bfloat16: return crop(frames, boxes, target, CropToPlanes<__nv_bfloat16>{target, affine}, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace dfer
