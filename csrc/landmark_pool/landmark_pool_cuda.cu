#include "landmark_pool/landmark_pool_cuda.cuh"

#include <algorithm>

namespace dfer {

namespace {

template <typename T, int kVector>
cudaError_t pool(const LandmarkPoolShape& shape, const LandmarkPoolArrays& arrays, cudaStream_t stream) {
  const PoolTile<T> tile(shape.height, shape.width);
  const std::int64_t across = (shape.channels + kPoolChannels - 1) / kPoolChannels, blocks = shape.images * across;
  const std::int64_t groups = (shape.landmarks + kPoolNodes) / kPoolNodes;
  if (blocks == 0) return cudaSuccess;
  const std::size_t meeting = sizeof(float) * kPoolNodes * kPoolChannels;
  const std::size_t bytes = sizeof(float) * kPoolPitch * (shape.height + shape.width) + std::max(tile.bytes(), meeting);
  if (shape.width > kLandmarkPoolWidth || shape.height > kLandmarkPoolHeight || blocks > 0x7fffffff || groups > 65535)
    return cudaErrorInvalidValue;
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(groups));
  const auto kernel = arrays.over_channels ? landmark_pool_kernel<T, kVector, true> : landmark_pool_kernel<T, kVector, false>;
  launch(kernel, grid, kPoolThreads, bytes, stream, shape, arrays, across);
  return cudaGetLastError();
}

}  // namespace

cudaError_t landmark_pool(const LandmarkPoolShape& shape, const LandmarkPoolArrays& arrays, DType dtype,
                          cudaStream_t stream) {
  return for_dtype(dtype, [&](auto element) {
    using T = decltype(element);
    const PoolTile<T> tile(shape.height, shape.width);
    // Every block of rows, and what is left of the map below it, is whole words.
    const bool whole = tile.rows * shape.width % 4 == 0 && shape.height * shape.width % 4 == 0;
    const bool words = whole && aligned_to(arrays.features, 4 * sizeof(T));
    return words ? pool<T, 4>(shape, arrays, stream) : pool<T, 1>(shape, arrays, stream);
  });
}

}  // namespace dfer
