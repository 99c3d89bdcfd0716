#include "token_attention/token_attention_cuda.cuh"

namespace dfer {

cudaError_t token_attention(const TokenShape& shape, const TokenArrays& arrays, DType dtype, cudaStream_t stream) {
  if (shape.batch == 0) return cudaSuccess;
  if (shape.classes > kTokenClasses) return cudaErrorInvalidValue;
  const unsigned blocks = static_cast<unsigned>((shape.units + kTokenWarps - 1) / kTokenWarps);
  return for_dtype(dtype, [&](auto element) {
    using T = decltype(element);
    constexpr int kVector = 16 / sizeof(T);
    const bool words = shape.width % kVector == 0 && aligned_to(arrays.x, 16) && aligned_to(arrays.weight, 16);
    const auto kernel = words ? token_attention_kernel<T, kVector> : token_attention_kernel<T, 1>;
    launch(kernel, dim3(blocks), kTokenThreads, 0, stream, shape, arrays);
    return cudaGetLastError();
  });
}

}  // namespace dfer
