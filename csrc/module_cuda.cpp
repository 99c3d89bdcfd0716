// dfer_edge._cuda: one line per operation. Arrays come as addresses, the stream as its handle; see README.md.
#include <cuda_runtime.h>
#include <pybind11/pybind11.h>

#include <string>

namespace py = pybind11;

void bind_attention_gate(py::module_& m);
void bind_clip_to_tensor(py::module_& m);
void bind_landmark_pool(py::module_& m);
void bind_lbp(py::module_& m);
void bind_token_attention(py::module_& m);

namespace {

std::string build_info() { return std::string("CUDA ") + DFER_CUDA_VERSION + ", for sm_" + DFER_CUDA_ARCHITECTURES; }

// Why no kernel can run here; empty if one can.
std::string unavailable() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return std::string("CUDA reports: ") + cudaGetErrorString(error);
  return count ? "" : "CUDA finds no device";
}

}  // namespace

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "CUDA kernels of dfer_edge on device addresses and a stream; call them through dfer_edge.kernels.";
  m.def("build_info", &build_info);
  m.def("unavailable", &unavailable);
  bind_attention_gate(m);
  bind_clip_to_tensor(m);
  bind_landmark_pool(m);
  bind_lbp(m);
  bind_token_attention(m);
}
