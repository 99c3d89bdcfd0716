#include "lbp/lbp_cuda.cuh"

#include <algorithm>

namespace dfer {

namespace {

template <int kChannels, int kWords, typename Store>
cudaError_t lbp(const std::uint8_t* frames, const LbpShape& shape, const LbpWeights& weights, bool whole, Store store,
                cudaStream_t stream) {
  const std::int64_t across = (shape.width + 4 * kWords - 1) / (4 * kWords), bands = (shape.height + kLbpRows - 1) / kLbpRows;
  const std::int64_t blocks = (shape.frames * bands * across + kLbpThreads - 1) / kLbpThreads;
  if (blocks == 0) return cudaSuccess;
  // Threads are counted in 32 bits, and so are a row's bytes.
  if (blocks * kLbpThreads > 0xffffffff || shape.height > 0x7fffffff / kLbpRows || shape.width * kChannels > 0x7fffffff)
    return cudaErrorInvalidConfiguration;
  LbpValues values;
  std::copy(weights.value, weights.value + 8, values.of);
  const auto kernel = weights.zero_border ? lbp_kernel<kChannels, kWords, true, Store> : lbp_kernel<kChannels, kWords, false, Store>;
  dfer::launch(kernel, dim3(static_cast<unsigned>(blocks)), kLbpThreads, 0, stream, frames, shape,
         values, whole, store);
  return cudaGetLastError();
}

// Words as wide as rows and addresses allow.
template <typename Store>
cudaError_t lbp(const std::uint8_t* frames, const LbpShape& shape, const LbpWeights& weights, const void* out, int bytes,
                Store store, cudaStream_t stream) {
  const auto wide = [&](int words) {
    return shape.width % (4 * words) == 0 && aligned_to(frames, 4 * words) && aligned_to(out, bytes == 1 ? 4 * words : 16);
  };
  if (shape.channels == 3) return lbp<3, 1>(frames, shape, weights, wide(1), store, stream);
  if (wide(4) && shape.height >= kLbpRows) return lbp<1, 4>(frames, shape, weights, true, store, stream);
  return lbp<1, 1>(frames, shape, weights, wide(1), store, stream);
}

}  // namespace

cudaError_t lbp_codes(const std::uint8_t* frames, LbpShape shape, LbpWeights weights, std::uint8_t* codes,
                      cudaStream_t stream) {
  return lbp(frames, shape, weights, codes, 1, LbpToCodes{codes}, stream);
}

cudaError_t lbp_clip(const std::uint8_t* frames, LbpShape shape, LbpWeights weights, LbpAffine affine, float* clip,
                     cudaStream_t stream) {
  return lbp(frames, shape, weights, clip, 4, LbpToClip{clip, shape.frames * shape.height * shape.width, affine}, stream);
}

}  // namespace dfer
