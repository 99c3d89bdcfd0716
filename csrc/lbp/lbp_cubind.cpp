// Bindings of the CUDA form: addresses, sizes, device and stream. kernels/lbp/cuda_impl.py checks the arrays.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "common/cuda_launch.h"
#include "lbp/lbp_cuda.h"

namespace py = pybind11;

namespace {

using Address = std::uintptr_t;

dfer::LbpWeights weights_of(const std::array<std::uint8_t, 8>& values, bool zero_border) {
  dfer::LbpWeights weights{};
  std::copy(values.begin(), values.end(), weights.value);
  weights.zero_border = zero_border;
  return weights;
}

void codes(Address frames, const std::array<std::int64_t, 4>& shape, const std::array<std::uint8_t, 8>& weights,
           bool zero_border, Address out, int device, Address stream) {
  const dfer::DeviceGuard guard(device);
  const dfer::LbpShape sizes{shape[0], shape[1], shape[2], static_cast<int>(shape[3])};
  dfer::check(dfer::lbp_codes(dfer::pointer_of<const std::uint8_t>(frames), sizes, weights_of(weights, zero_border),
                              dfer::pointer_of<std::uint8_t>(out), dfer::stream_of(stream)),
              "lbp_codes");
}

void clip(Address frames, const std::array<std::int64_t, 4>& shape, const std::array<std::uint8_t, 8>& weights,
          bool zero_border, const std::array<std::array<float, 4>, 3>& affine, Address out, int device,
          Address stream) {
  const dfer::DeviceGuard guard(device);
  const dfer::LbpShape sizes{shape[0], shape[1], shape[2], static_cast<int>(shape[3])};
  dfer::LbpAffine maps{};
  for (std::size_t c = 0; c < 3; ++c) maps.channel[c] = {affine[c][0], affine[c][1], affine[c][2], affine[c][3]};
  dfer::check(dfer::lbp_clip(dfer::pointer_of<const std::uint8_t>(frames), sizes, weights_of(weights, zero_border),
                             maps, dfer::pointer_of<float>(out), dfer::stream_of(stream)),
              "lbp_clip");
}

}  // namespace

void bind_lbp(py::module_& m) {
  using namespace py::literals;
  m.def("lbp_codes", &codes, "frames"_a, "shape"_a, "weights"_a, "zero_border"_a, "out"_a, "device"_a, "stream"_a);
  m.def("lbp_clip", &clip, "frames"_a, "shape"_a, "weights"_a, "zero_border"_a, "affine"_a, "out"_a, "device"_a,
        "stream"_a);
}
