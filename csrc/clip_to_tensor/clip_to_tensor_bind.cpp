// Bindings of csrc/clip_to_tensor: numpy buffers, the GIL released around the loops.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "clip_to_tensor/clip_to_tensor_cpu.h"
#include "common/parallel.h"

namespace py = pybind11;

namespace {

using Bytes = py::array_t<std::uint8_t>;
using Boxes = py::array_t<std::int32_t, py::array::c_style>;
using Maps = std::array<std::array<float, 4>, 3>;

// Frames and boxes of a call; frames may lie apart, and so may their rows.
struct Crops {
  const std::uint8_t* frames;
  std::int64_t count, height, width, frame_stride, row_stride;
  bool nv12;
  const std::int32_t* boxes;
  std::int64_t clips;

  dfer::Picture picture(std::int64_t t) const { return {frames + t * frame_stride, height, width, row_stride, nv12}; }
  dfer::CropBox box(std::int64_t at) const {
    const std::int32_t* const b = boxes + 4 * at;
    return {b[0], b[1], std::max<std::int64_t>(b[2], std::int64_t{b[0]} + 1),
            std::max<std::int64_t>(b[3], std::int64_t{b[1]} + 1)};
  }
};

Crops crops_of(const Bytes& frames, const Boxes& boxes, bool nv12) {
  const bool pixels = nv12 ? frames.ndim() == 3 && frames.strides(2) == 1
                           : frames.ndim() == 4 && frames.shape(3) == 3 && frames.strides(2) == 3;
  if (!pixels) throw py::value_error("expected frames [T, H, W, 3] or NV12 [T, 3 H / 2, W], rows without gaps");
  if (boxes.ndim() != 3 || boxes.shape(1) != frames.shape(0) || boxes.shape(2) != 4)
    throw py::value_error("expected boxes [N, T, 4]");
  const std::int64_t rows = frames.shape(1);
  if (rows == 0 || frames.shape(2) == 0 || (nv12 && (rows % 3 || frames.shape(2) % 2)))
    throw py::value_error("expected frames that are not empty, NV12 of even sides");
  return {frames.data(),     frames.shape(0),   nv12 ? rows / 3 * 2 : rows, frames.shape(2), frames.strides(0),
          frames.strides(1), nv12, boxes.data(), boxes.shape(0)};
}

template <typename Body>
void each_crop(const Crops& crops, int threads, const Body& body) {
  const py::gil_scoped_release release;
  dfer::parallel_for(crops.clips * crops.count, threads, [&](std::int64_t begin, std::int64_t end) {
    dfer::CropScratch scratch;
    for (std::int64_t at = begin; at < end; ++at) body(at, at / crops.count, at % crops.count, scratch);
  });
}

void pixels(const Bytes& frames, const Boxes& boxes, bool nv12, Bytes& out, int threads) {
  const Crops crops = crops_of(frames, boxes, nv12);
  if (out.ndim() != 5 || out.shape(0) != crops.clips || out.shape(1) != crops.count || out.shape(4) != 3 ||
      out.strides(4) != 1 || out.strides(3) != 3 || (out.shape(2) > 1 && out.strides(2) != 3 * out.shape(3)))
    throw py::value_error("expected out [N, T, h, w, 3], images without gaps");
  std::uint8_t* const target = out.mutable_data();
  const std::int64_t height = out.shape(2), width = out.shape(3), by_clip = out.strides(0), by_frame = out.strides(1);
  each_crop(crops, threads, [&](std::int64_t at, std::int64_t n, std::int64_t t, dfer::CropScratch& scratch) {
    dfer::crop_pixels(crops.picture(t), crops.box(at), height, width, target + n * by_clip + t * by_frame, scratch);
  });
}

// `out` is float32, or 16-bit floats as their bits.
void planes(const Bytes& frames, const Boxes& boxes, bool nv12, const Maps& affine, int dtype, py::array& out,
            int threads) {
  const Crops crops = crops_of(frames, boxes, nv12);
  const auto kind = static_cast<dfer::DType>(dtype);
  const std::int64_t item = kind == dfer::DType::float32 ? 4 : 2;
  if (out.ndim() != 5 || out.shape(0) != crops.clips || out.shape(1) != 3 || out.shape(2) != crops.count ||
      out.itemsize() != item || out.strides(4) != item || (out.shape(3) > 1 && out.strides(3) != item * out.shape(4)))
    throw py::value_error("expected out [N, 3, T, h, w] of the dtype, planes without gaps");
  dfer::Planes layout{nullptr, out.strides(1) / item, kind, {}};
  for (std::size_t c = 0; c < 3; ++c) layout.affine[c] = {affine[c][0], affine[c][1], affine[c][2], affine[c][3]};
  auto* const target = static_cast<std::uint8_t*>(out.mutable_data());
  const std::int64_t height = out.shape(3), width = out.shape(4), by_clip = out.strides(0), by_frame = out.strides(2);
  each_crop(crops, threads, [&](std::int64_t at, std::int64_t n, std::int64_t t, dfer::CropScratch& scratch) {
    dfer::Planes here = layout;
    here.data = target + n * by_clip + t * by_frame;
    dfer::crop_planes(crops.picture(t), crops.box(at), height, width, here, scratch);
  });
}

}  // namespace

void bind_clip_to_tensor(py::module_& m) {
  using namespace py::literals;
  m.def("crop_pixels", &pixels, "frames"_a.noconvert(), "boxes"_a, "nv12"_a, "out"_a.noconvert(), "threads"_a);
  m.def("crop_planes", &planes, "frames"_a.noconvert(), "boxes"_a, "nv12"_a, "affine"_a, "dtype"_a, "out"_a,
        "threads"_a);
}
