#include "lbp/lbp_cuda.cuh"

namespace dfer {

namespace {

constexpr int kThreads = 256;

bool aligned(const void* pointer, std::uintptr_t bytes) { return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0; }

template <typename Store>
cudaError_t launch(const std::uint8_t* frames, LbpShape shape, LbpWeights weights, bool words, Store store,
                   cudaStream_t stream) {
  const std::int64_t threads = shape.frames * ((shape.height + kLbpRows - 1) / kLbpRows) * ((shape.width + 3) / 4);
  if (threads == 0) return cudaSuccess;
  const std::int64_t blocks = (threads + kThreads - 1) / kThreads;
  if (blocks > 0x7fffffff) return cudaErrorInvalidConfiguration;
  const dim3 grid(static_cast<unsigned>(blocks));
  if (shape.channels == 1)
    lbp_kernel<1><<<grid, kThreads, 0, stream>>>(frames, shape, weights, words, store);
  else
    lbp_kernel<3><<<grid, kThreads, 0, stream>>>(frames, shape, weights, words, store);
  return cudaGetLastError();
}

}  // namespace

cudaError_t lbp_codes(const std::uint8_t* frames, LbpShape shape, LbpWeights weights, std::uint8_t* codes,
                      cudaStream_t stream) {
  const bool words = shape.width % 4 == 0 && aligned(frames, 4) && aligned(codes, 4);
  return launch(frames, shape, weights, words, LbpToCodes{codes}, stream);
}

cudaError_t lbp_clip(const std::uint8_t* frames, LbpShape shape, LbpWeights weights, LbpAffine affine, float* clip,
                     cudaStream_t stream) {
  const bool words = shape.width % 4 == 0 && aligned(frames, 4) && aligned(clip, 16);
  const std::int64_t plane = shape.frames * shape.height * shape.width;
  return launch(frames, shape, weights, words, LbpToClip{clip, plane, affine}, stream);
}

}  // namespace dfer
