// dfer_edge._cpu: one line per operation. The public functions are in Python; see README.md.
#include <pybind11/pybind11.h>

#include <string>

#include "synthesis/synthesis_bind.h"

namespace py = pybind11;

void bind_attention_gate(py::module_& m);
void bind_clip_to_tensor(py::module_& m);
void bind_landmark_pool(py::module_& m);
void bind_lbp(py::module_& m);
void bind_token_attention(py::module_& m);
void bind_winograd(py::module_& m);

namespace {

// What this build is and which copy of the loops this CPU gets, for `dfer-edge doctor`.
std::string build_info() {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  const char* level = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") ? "AVX-512"
                      : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")        ? "AVX2"
                                                                                               : "SSE2";
#elif defined(__aarch64__)
  const char* level = "NEON";
#else
  const char* level = "baseline";
#endif
  return std::string("C++17, compiler ") + __VERSION__ + ", loops for " + level;
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
  m.doc() = "C++ loops of dfer_edge on numpy buffers; call them through dfer_edge.kernels and dfer_edge.synthesis.";
  m.def("build_info", &build_info);
  bind_attention_gate(m);
  bind_clip_to_tensor(m);
  bind_landmark_pool(m);
  bind_lbp(m);
  bind_token_attention(m);
  bind_winograd(m);
  auto synthesis = m.def_submodule("synthesis", "Renderer of faces.");
  dfer::synthesis::bind(synthesis);
}
