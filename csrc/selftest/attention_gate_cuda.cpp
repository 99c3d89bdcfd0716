// The CUDA form of attention_gate, run on the CPU by cuda_blocks_on_host.h, against the C++ loops.
#include "attention_gate/attention_gate_cuda.cu"  // NOLINT: the kernels are templates

#include "attention_gate/attention_gate_cpu.h"
#include "selftest/cuda_case.h"
#include "selftest/far.h"
#include "selftest/selftest.h"

namespace {

template <typename T>
class Case {
 public:
  Case(std::int64_t images, dfer::GateShape shape, dfer::DType dtype, double tolerance, int units = 5, int others = 3)
      : images_(images), shape_(shape), dtype_(dtype), tolerance_(tolerance), units_(units), others_(others),
        noise_(static_cast<std::uint64_t>(shape.height * 100 + shape.width)),
        x_(images * shape.channels * shape.height * shape.width, noise_) {}

  void all() {
    const std::int64_t channels = shape_.channels, units = units_, others = others_, planes = 2;
    const auto both = [&](std::int64_t count) { return selftest::Both<T>(count, noise_); };
    const auto w1 = both(units * channels), b1 = both(units), w2 = both(channels * units), b2 = both(channels);
    const auto v1 = both(others * channels), c1 = both(others), v2 = both(channels * others), c2 = both(channels);
    const auto k1 = both(planes * 9), d1 = both(planes), k2 = both(planes * 9), d2 = both(1), k7 = both(98);
    const dfer::GateMlp first{w1.wide(), b1.wide(), w2.wide(), b2.wide(), units};
    const dfer::GateMlp second{v1.wide(), c1.wide(), v2.wide(), c2.wide(), others};
    const dfer::GateConv conv1{k1.wide(), d1.wide(), 1, planes, 3}, conv2{k2.wide(), d2.wide(), planes, 1, 3};
    const dfer::GateConv conv7{k7.wide(), d2.wide(), 2, 1, 7};
    const std::vector<const void*> mlp{w1.narrow(), b1.narrow(), w2.narrow(), b2.narrow()};
    check(dfer::GateKind::se, mlp, "se", [&](const float* x, float* out) { dfer::se_gate(shape_, first, x, out, 1); });
    auto weights = mlp;
    weights.insert(weights.end(), {k1.narrow(), d1.narrow(), k2.narrow(), d2.narrow()});
    check(dfer::GateKind::agfer, weights, "agfer",
          [&](const float* x, float* out) { dfer::ag_gate(shape_, first, conv1, conv2, x, out, 1); });
    weights = mlp;
    weights.insert(weights.end(), {v1.narrow(), c1.narrow(), v2.narrow(), c2.narrow(), k7.narrow(), d2.narrow()});
    check(dfer::GateKind::cbam, weights, "cbam",
          [&](const float* x, float* out) { dfer::cbam_gate(shape_, first, second, conv7, x, out, 1); });
  }

 private:
  template <typename Loops>
  void check(dfer::GateKind kind, const std::vector<const void*>& weights, const char* what, const Loops& loops) {
    const std::int64_t in = shape_.channels * shape_.height * shape_.width;
    const std::int64_t size = shape_.pool ? shape_.channels * (shape_.height / 2) * (shape_.width / 2) : in;
    selftest::Floats expected(static_cast<std::size_t>(images_ * size), NAN);
    for (std::int64_t n = 0; n < images_; ++n) loops(x_.wide() + n * in, expected.data() + n * size);
    const dfer::GateSizes sizes{images_, static_cast<int>(shape_.channels), static_cast<int>(shape_.height),
                                static_cast<int>(shape_.width), units_, others_, 2, shape_.pool};
    selftest::Floats scratch(static_cast<std::size_t>(dfer::gate_scratch(sizes)), NAN);
    std::vector<T> out(expected.size(), T(NAN));
    dfer::GateArrays arrays{x_.narrow(), {}, scratch.data(), out.data()};
    std::copy(weights.begin(), weights.end(), arrays.weights);
    selftest::expect(dfer::attention_gate(kind, sizes, arrays, dtype_, nullptr) == cudaSuccess, "launch", 0);
    selftest::close(out, expected, tolerance_, what);
  }

  std::int64_t images_;
  dfer::GateShape shape_;
  dfer::DType dtype_;
  double tolerance_;
  int units_, others_;
  selftest::Noise noise_;
  selftest::Both<T> x_;
};

// The last of more images than 32 bits can index; only its blocks run, which every grid counts last.
void far_images(bool pool) {
  const std::int64_t images = 65535, channels = 32, height = 33, width = 32, map = channels * height * width;
  const std::int64_t last = images - 1, size = pool ? map / height * 16 / 2 : map;
  static_assert(65534 * std::int64_t{32 * 33 * 32} > selftest::kBeyond32, "indices of more than 32 bits");
  const selftest::Far<float> x(images * map), out(images * size);
  selftest::Noise noise(7);
  for (std::int64_t i = 0; i < map; ++i) x[last * map + i] = noise.unit();
  const selftest::Floats w1 = selftest::draw(5 * channels, noise), b1 = selftest::draw(5, noise),
                         w2 = selftest::draw(channels * 5, noise), b2 = selftest::draw(channels, noise),
                         k1 = selftest::draw(18, noise), d1 = selftest::draw(2, noise), k2 = selftest::draw(18, noise),
                         d2 = selftest::draw(1, noise);
  const dfer::GateShape one{channels, height, width, pool};
  selftest::Floats expected(static_cast<std::size_t>(size), NAN);
  dfer::ag_gate(one, {w1.data(), b1.data(), w2.data(), b2.data(), 5}, {k1.data(), d1.data(), 1, 2, 3},
                {k2.data(), d2.data(), 2, 1, 3}, &x[last * map], expected.data(), 1);
  const dfer::GateSizes sizes{images, 32, 33, 32, 5, 0, 2, pool};
  const selftest::Far<float> scratch(dfer::gate_scratch(sizes));
  dfer::GateArrays arrays{x.data(), {w1.data(), b1.data(), w2.data(), b2.data(), k1.data(), d1.data(), k2.data(), d2.data()},
                          scratch.data(), out.data()};
  cuda_host::wanted = [](uint3 index, dim3 grid) { return grid.z > 1 ? index.z == grid.z - 1 : index.y == grid.y - 1; };
  selftest::expect(dfer::attention_gate(dfer::GateKind::agfer, sizes, arrays, dfer::DType::float32, nullptr) == cudaSuccess,
                   "far launch", 0);
  cuda_host::wanted = nullptr;
  selftest::close(selftest::Floats(&out[last * size], &out[last * size] + size), expected, 1e-5, "far image");
}

}  // namespace

int main() {
  far_images(true);
  far_images(false);
  for (bool pool : {true, false}) {
    Case<float>(2, {35, 8, 12, pool}, dfer::DType::float32, 1e-5).all();
    Case<float>(1, {5, 7, 5, pool}, dfer::DType::float32, 1e-5).all();
    Case<float>(1, {3, 19, 34, pool}, dfer::DType::float32, 1e-5).all();
    Case<float>(1, {2, 2, 2, pool}, dfer::DType::float32, 1e-5).all();
    // Rows of the MLPs' weights in whole words.
    Case<float>(1, {40, 6, 8, pool}, dfer::DType::float32, 1e-5, 68, 12).all();
    Case<__half>(1, {80, 4, 8, pool}, dfer::DType::float16, 2e-3, 40, 8).all();
    Case<__half>(1, {33, 28, 28, pool}, dfer::DType::float16, 2e-3).all();
    Case<__half>(1, {4, 4, 16, pool}, dfer::DType::float16, 2e-3).all();
    Case<__nv_bfloat16>(1, {4, 6, 10, pool}, dfer::DType::bfloat16, 1.6e-2).all();
  }
  return selftest::result("attention_gate on the host");
}
