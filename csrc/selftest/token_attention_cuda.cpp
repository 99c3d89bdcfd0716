// The CUDA form of token_attention, run on the CPU by cuda_blocks_on_host.h, against the C++ loops.
#include "token_attention/token_attention_cuda.cu"  // NOLINT: the kernels are templates

#include "selftest/cuda_case.h"
#include "selftest/far.h"
#include "selftest/selftest.h"
#include "token_attention/token_attention_cpu.h"

namespace {

template <typename T>
void compare(std::int64_t batch, int width, int units, int classes, bool softmax, dfer::DType dtype, double tolerance) {
  selftest::Noise noise(static_cast<std::uint64_t>(width * 100 + units));
  const float scale = 1.0f / std::sqrt(static_cast<float>(width));
  const selftest::Both<T> x(batch * width, noise), weight(units * width, noise, 0, scale), bias(units, noise),
      classifier(classes * units, noise), classifier_bias(classes, noise);
  const auto count = static_cast<std::size_t>(batch * classes);
  selftest::Floats expected(count, NAN), hidden(static_cast<std::size_t>(batch * units), NAN);
  const dfer::FoldedHead head{{weight.wide(), bias.wide(), width, units},
                              {classifier.wide(), classifier_bias.wide(), units, classes}};
  dfer::token_attention(head, x.wide(), batch, softmax, expected.data(), 1);
  unsigned counter = 0;
  for (int launch = 0; launch < 2; ++launch) {  // the second finds the counter as the first left it
    std::vector<T> out(count, T(NAN));
    const dfer::TokenArrays arrays{x.narrow(), weight.narrow(), bias.narrow(), classifier.narrow(),
                                   classifier_bias.narrow(), hidden.data(), &counter, out.data()};
    const dfer::TokenShape shape{batch, width, units, classes, softmax};
    selftest::expect(dfer::token_attention(shape, arrays, dtype, nullptr) == cudaSuccess, "launch", 0);
    selftest::close(out, expected, tolerance, "scores");
    selftest::expect(counter == 0, "counter", launch);
  }
}

// A weight whose index needs more than 32 bits: the last column of the last of nine rows. Only its block runs.
void far_weights() {
  constexpr int kWidth = (1 << 28) + 8, kUnits = 9;
  const selftest::Far<__half> x(kWidth), weight(std::int64_t{kUnits} * kWidth);
  x[kWidth - 1] = __half(3.0f);
  weight[std::int64_t{kUnits} * kWidth - 1] = __half(0.5f);
  const std::vector<__half> bias(kUnits, __half(0.25f)), classifier(kUnits, __half(2.0f));
  std::vector<__half> out(1, __half(NAN));
  selftest::Floats hidden(kUnits, 0.0f);
  unsigned counter = 2;  // as if the other two blocks had ended
  cuda_host::wanted = [](uint3 index, dim3 grid) { return index.x == grid.x - 1; };
  const dfer::TokenArrays arrays{x.data(), weight.data(), bias.data(), classifier.data(), bias.data(), hidden.data(),
                                 &counter, out.data()};
  selftest::expect(dfer::token_attention({1, kWidth, kUnits, 1, false}, arrays, dfer::DType::float16, nullptr) == cudaSuccess,
                   "far launch", 0);
  cuda_host::wanted = nullptr;
  selftest::expect(dfer::to_float(out[0]) == 2.0f * (3.0f * 0.5f + 0.25f) + 0.25f, "far weight", 0);
}

}  // namespace

int main() {
  far_weights();
  for (bool softmax : {false, true}) {
    compare<float>(1, 2048, 64, 7, softmax, dfer::DType::float32, 1e-6);
    compare<float>(9, 67, 13, 11, softmax, dfer::DType::float32, 1e-6);
    compare<float>(4, 1, 1, 1, softmax, dfer::DType::float32, 1e-6);
    compare<__half>(3, 256, 33, 7, softmax, dfer::DType::float16, 2e-3);
    compare<__nv_bfloat16>(1, 40, 9, 256, softmax, dfer::DType::bfloat16, 1.6e-2);
  }
  return selftest::result("token_attention on the host");
}
