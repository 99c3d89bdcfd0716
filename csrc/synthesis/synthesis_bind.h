#pragma once

#include <pybind11/pybind11.h>

namespace dfer::synthesis {
void bind(pybind11::module_& m);  // adds Person, Renderer and raster to a submodule
}
