#include "clip_to_tensor/clip_to_tensor_cuda.cuh"

namespace dfer {

namespace {

template <typename Store>
cudaError_t launch(const CropFrames& frames, const CropBoxes& boxes, const CropTarget& target, Store store,
                   cudaStream_t stream) {
  const std::int64_t crops = boxes.clips * frames.count;
  if (crops == 0 || target.height == 0 || target.width == 0) return cudaSuccess;
  const std::int64_t blocks = crops * ((target.height + kCropDown - 1) / kCropDown);
  const int across = (target.width + kCropAcross - 1) / kCropAcross;
  if (blocks > 0x7fffffff || across > 0xffff) return cudaErrorInvalidConfiguration;
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(across)), block(kCropAcross, kCropDown);
  if (frames.nv12)
    crop_kernel<true><<<grid, block, 0, stream>>>(frames, boxes, target.height, target.width, store);
  else
    crop_kernel<false><<<grid, block, 0, stream>>>(frames, boxes, target.height, target.width, store);
  return cudaGetLastError();
}

}  // namespace

cudaError_t crop_pixels(CropFrames frames, CropBoxes boxes, CropTarget target, cudaStream_t stream) {
  return launch(frames, boxes, target, CropToPixels{target}, stream);
}

cudaError_t crop_planes(CropFrames frames, CropBoxes boxes, CropTarget target, CropAffine affine, DType dtype,
                        cudaStream_t stream) {
  switch (dtype) {
    case DType::float32: return launch(frames, boxes, target, CropToPlanes<float>{target, affine}, stream);
    case DType::float16: return launch(frames, boxes, target, CropToPlanes<__half>{target, affine}, stream);
    case DType::bfloat16: return launch(frames, boxes, target, CropToPlanes<__nv_bfloat16>{target, affine}, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace dfer
