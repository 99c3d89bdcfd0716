// Bindings of the CUDA form: addresses, sizes, strides, device and stream. kernels/clip_to_tensor/cuda_impl.py checks.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "clip_to_tensor/clip_to_tensor_cuda.h"
#include "common/cuda_launch.h"

namespace py = pybind11;

namespace {

using Address = std::uintptr_t;
using Maps = std::array<std::array<float, 4>, 3>;
using Strides = std::array<std::int64_t, 3>;

// Of [count, height, width] frames; strides of frames and rows.
dfer::CropFrames frames_of(Address data, const std::array<std::int64_t, 3>& shape,
                           const std::array<std::int64_t, 2>& strides, bool nv12) {
  return {dfer::pointer_of<const std::uint8_t>(data), shape[0], shape[1], shape[2], strides[0], strides[1], nv12};
}

// Strides of clips, planes and frames.
dfer::CropTarget target_of(Address data, const Strides& strides, const std::array<int, 2>& size) {
  return {dfer::pointer_of<void>(data), strides[0], strides[1], strides[2], size[0], size[1]};
}

void pixels(Address frames, const std::array<std::int64_t, 3>& shape, const std::array<std::int64_t, 2>& frame_strides,
            bool nv12, Address boxes, std::int64_t clips, Address out, const Strides& strides,
            const std::array<int, 2>& size, int device, Address stream) {
  const dfer::DeviceGuard guard(device);
  dfer::check(dfer::crop_pixels(frames_of(frames, shape, frame_strides, nv12),
                                {dfer::pointer_of<const std::int32_t>(boxes), clips}, target_of(out, strides, size),
                                dfer::stream_of(stream)),
              "crop_pixels");
}

void planes(Address frames, const std::array<std::int64_t, 3>& shape, const std::array<std::int64_t, 2>& frame_strides,
            bool nv12, Address boxes, std::int64_t clips, Address out, const Strides& strides,
            const std::array<int, 2>& size, int device, Address stream, const Maps& affine, int dtype) {
  const dfer::DeviceGuard guard(device);
  dfer::CropAffine maps{};
  for (std::size_t c = 0; c < 3; ++c) maps.channel[c] = {affine[c][0], affine[c][1], affine[c][2], affine[c][3]};
  dfer::check(dfer::crop_planes(frames_of(frames, shape, frame_strides, nv12),
                                {dfer::pointer_of<const std::int32_t>(boxes), clips}, target_of(out, strides, size),
                                maps, static_cast<dfer::DType>(dtype), dfer::stream_of(stream)),
              "crop_planes");
}

}  // namespace

void bind_clip_to_tensor(py::module_& m) {
  using namespace py::literals;
  m.def("crop_pixels", &pixels, "frames"_a, "shape"_a, "frame_strides"_a, "nv12"_a, "boxes"_a, "clips"_a, "out"_a,
        "strides"_a, "size"_a, "device"_a, "stream"_a);
  m.def("crop_planes", &planes, "frames"_a, "shape"_a, "frame_strides"_a, "nv12"_a, "boxes"_a, "clips"_a, "out"_a,
        "strides"_a, "size"_a, "device"_a, "stream"_a, "affine"_a, "dtype"_a);
}
