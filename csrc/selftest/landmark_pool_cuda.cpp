// The CUDA form of landmark_pool, run on the CPU by cuda_blocks_on_host.h, against the C++ loops.
#include "landmark_pool/landmark_pool_cuda.cu"  // NOLINT: the kernels are templates

#include "landmark_pool/landmark_pool_cpu.h"
#include "selftest/cuda_case.h"
#include "selftest/far.h"
#include "selftest/selftest.h"

namespace {

template <typename T>
void compare(const dfer::LandmarkPool& op, bool gated, dfer::DType dtype, double tolerance, std::size_t skip = 0) {
  selftest::Noise noise(static_cast<std::uint64_t>(op.height * 100 + op.width));
  const std::int64_t maps = op.images * op.channels;
  const selftest::Both<T> features(maps * op.height * op.width, noise, skip), g1(op.images * op.height * op.width, noise),
      g2(maps * op.width, noise), g3(maps * op.height, noise);
  selftest::Floats points = selftest::draw(op.images * op.landmarks * 2, noise);
  for (float& point : points) point = point * static_cast<float>(op.width) * 0.7f + static_cast<float>(op.width) * 0.5f;
  if (op.landmarks > 2) points[2] = 1e30f;
  const auto count = static_cast<std::size_t>(op.images * (op.landmarks + 1) * op.channels);
  selftest::Floats expected(count, NAN);
  std::vector<T> out(count, T(NAN));
  const dfer::TripletGates gates{gated ? g1.wide() : nullptr, gated ? g2.wide() : nullptr, gated ? g3.wide() : nullptr};
  dfer::landmark_pool(op, features.wide(), points.data(), gates, expected.data(), 1);
  const dfer::LandmarkPoolShape shape{op.images, op.channels, static_cast<int>(op.height), static_cast<int>(op.width),
                                      static_cast<int>(op.landmarks), op.sigma, op.norm_heat};
  const dfer::LandmarkPoolArrays arrays{features.narrow(), points.data(), gated ? g1.narrow() : nullptr,
                                        gated ? g2.narrow() : nullptr, gated ? g3.narrow() : nullptr, out.data()};
  selftest::expect(dfer::landmark_pool(shape, arrays, dtype, nullptr) == cudaSuccess, "launch", 0);
  selftest::close(out, expected, tolerance, gated ? "gated" : "plain");
}

// The last of more images than 32 bits can index; no other block runs.
void far_images(bool gated) {
  const std::int64_t channels = 64, side = 64, cells = side * side, map = channels * cells;
  const std::int64_t last = selftest::kBeyond32 / map, images = last + 1, vectors = 3 * channels;
  const selftest::Far<float> features(images * map), points(images * 4), out(images * vectors);
  const selftest::Far<float> g1(images * cells), g2(images * channels * side), g3(images * channels * side);
  selftest::Noise noise(5);
  const auto fill = [&](const selftest::Far<float>& values, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) values[last * count + i] = noise.unit() * (count == 4 ? 30.0f : 1.0f);
  };
  fill(features, map), fill(points, 4), fill(g1, cells), fill(g2, channels * side), fill(g3, channels * side);
  selftest::Floats expected(static_cast<std::size_t>(vectors), NAN);
  const dfer::TripletGates gates{gated ? &g1[last * cells] : nullptr, gated ? &g2[last * channels * side] : nullptr,
                                 gated ? &g3[last * channels * side] : nullptr};
  dfer::landmark_pool({1, channels, side, side, 2, 9.0f, false}, &features[last * map], &points[last * 4], gates,
                      expected.data(), 1);
  cuda_host::wanted = [](uint3 index, dim3 grid) { return index.x == grid.x - 1; };
  const dfer::LandmarkPoolArrays arrays{features.data(), points.data(), gated ? g1.data() : nullptr,
                                        gated ? g2.data() : nullptr, gated ? g3.data() : nullptr, out.data()};
  const dfer::LandmarkPoolShape shape{images, channels, static_cast<int>(side), static_cast<int>(side), 2, 9.0f, false};
  selftest::expect(dfer::landmark_pool(shape, arrays, dfer::DType::float32, nullptr) == cudaSuccess, "far launch", 0);
  cuda_host::wanted = nullptr;
  selftest::close(selftest::Floats(&out[last * vectors], &out[last * vectors] + vectors), expected, 1e-5, "far image");
}

}  // namespace

int main() {
  far_images(false);
  far_images(true);
  for (bool norm_heat : {false, true})
    for (bool gated : {false, true}) {
      compare<float>({2, 70, 14, 14, 18, 1.4f, norm_heat}, gated, dfer::DType::float32, 1e-5);
      compare<float>({1, 5, 7, 3, 45, 1.4f, norm_heat}, gated, dfer::DType::float32, 1e-5);
      compare<float>({1, 3, 150, 96, 3, 1.4f, norm_heat}, gated, dfer::DType::float32, 1e-5);  // rows in turns
      compare<float>({1, 3, 14, 14, 18, 1.4f, norm_heat}, gated, dfer::DType::float32, 1e-5, 1);  // not on 16 bytes
      compare<__half>({2, 70, 14, 14, 18, 1.4f, norm_heat}, gated, dfer::DType::float16, 2e-3);
      compare<__nv_bfloat16>({1, 64, 5, 1, 0, 1.4f, norm_heat}, gated, dfer::DType::bfloat16, 1.6e-2);
    }
  return selftest::result("landmark_pool on the host");
}
