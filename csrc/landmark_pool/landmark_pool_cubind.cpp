// Bindings of the CUDA form: addresses, sizes, device and stream. kernels/landmark_pool checks the arrays.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "common/cuda_launch.h"
#include "landmark_pool/landmark_pool_cuda.h"

namespace py = pybind11;

namespace {

using Address = std::uintptr_t;

// shape: N, C, H, W, J; gates: three addresses, 0 without
void landmark_pool(Address features, Address points, const std::array<Address, 3>& gates,
                   const std::array<std::int64_t, 5>& shape, double sigma, bool norm_heat, int dtype, Address out,
                   int device, Address stream) {
  const dfer::DeviceGuard guard(device);
  const dfer::LandmarkPoolShape sizes{shape[0], shape[1], static_cast<int>(shape[2]), static_cast<int>(shape[3]),
                                      static_cast<int>(shape[4]), static_cast<float>(sigma), norm_heat};
  const dfer::LandmarkPoolArrays arrays{dfer::pointer_of<const void>(features), dfer::pointer_of<const float>(points),
                                        dfer::pointer_of<const void>(gates[0]), dfer::pointer_of<const void>(gates[1]),
                                        dfer::pointer_of<const void>(gates[2]), dfer::pointer_of<void>(out)};
  dfer::check(dfer::landmark_pool(sizes, arrays, static_cast<dfer::DType>(dtype), dfer::stream_of(stream)),
              "landmark_pool");
}

}  // namespace

void bind_landmark_pool(py::module_& m) {
  using namespace py::literals;
  m.def("landmark_pool", &landmark_pool, "features"_a, "points"_a, "gates"_a, "shape"_a, "sigma"_a, "norm_heat"_a,
        "dtype"_a, "out"_a, "device"_a, "stream"_a);
}
