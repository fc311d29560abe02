// The effective configuration as TOML, defaults included, for `show config`.
//
// parse(render(c)) gives c again, but for positions, the file's name and
// secrets, which are written as kMaskedSecret. Any thread.
#pragma once

#include <string>

#include "conf/config.h"

namespace sluice::conf {

inline constexpr const char* kMaskedSecret = "********";

std::string render(const Config& config);

}  // namespace sluice::conf
