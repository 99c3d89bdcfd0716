// Bindings of csrc/lbp: numpy buffers, the GIL released around the loops.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <vector>

#include "common/parallel.h"
#include "lbp/lbp_cpu.h"

namespace py = pybind11;
using Bytes = py::array_t<std::uint8_t, py::array::c_style>;
using Floats = py::array_t<float, py::array::c_style>;

namespace {

dfer::LbpRule rule_of(const std::array<std::uint8_t, 8>& weights, bool zero_border) {
  dfer::LbpRule rule{};
  std::copy(weights.begin(), weights.end(), rule.weight);
  rule.zero_border = zero_border;
  return rule;
}

dfer::LbpFrames frames_of(const Bytes& frames) {
  if (frames.ndim() != 3 && !(frames.ndim() == 4 && frames.shape(3) == 3))
    throw py::value_error("expected frames [T, H, W] or [T, H, W, 3]");
  return {frames.data(), frames.shape(1), frames.shape(2), frames.ndim() == 4 ? 3 : 1};
}

void codes(const Bytes& frames, const std::array<std::uint8_t, 8>& weights, bool zero_border, Bytes& out, int threads) {
  const auto source = frames_of(frames);
  const auto rule = rule_of(weights, zero_border);
  const std::int64_t count = frames.shape(0), pixels = source.height * source.width;
  if (out.size() != count * pixels) throw py::value_error("expected out [T, H, W]");
  std::uint8_t* const target = out.mutable_data();
  const py::gil_scoped_release release;
  if (pixels == 0) return;
  dfer::parallel_for(count, threads, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint8_t> scratch(static_cast<std::size_t>(dfer::lbp_scratch(source.width)));
    for (std::int64_t t = begin; t < end; ++t) dfer::lbp_codes(source, t, rule, target + t * pixels, scratch.data());
  });
}

void planes(const Bytes& frames, const std::array<std::uint8_t, 8>& weights, bool zero_border,
            const std::array<std::array<float, 4>, 3>& affine, Floats& out, int threads) {
  const auto source = frames_of(frames);
  const auto rule = rule_of(weights, zero_border);
  const std::int64_t count = frames.shape(0), pixels = source.height * source.width;
  if (out.size() != 3 * count * pixels) throw py::value_error("expected out [3, T, H, W]");
  dfer::Affine maps[3];
  for (std::size_t c = 0; c < 3; ++c) maps[c] = {affine[c][0], affine[c][1], affine[c][2], affine[c][3]};
  float* const target = out.mutable_data();
  const py::gil_scoped_release release;
  if (pixels == 0) return;
  dfer::parallel_for(count, threads, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint8_t> scratch(static_cast<std::size_t>(dfer::lbp_scratch(source.width)));
    for (std::int64_t t = begin; t < end; ++t)
      dfer::lbp_planes(source, t, rule, maps, target + t * pixels, count * pixels, scratch.data());
  });
}

}  // namespace

void bind_lbp(py::module_& m) {
  using namespace py::literals;
  m.def("lbp_codes", &codes, "frames"_a, "weights"_a, "zero_border"_a, "out"_a.noconvert(), "threads"_a);
  m.def("lbp_planes", &planes, "frames"_a, "weights"_a, "zero_border"_a, "affine"_a, "out"_a.noconvert(), "threads"_a);
}
