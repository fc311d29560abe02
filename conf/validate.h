// The rules that span several keys: references, duplicates, and settings that
// make no sense together.
//
// Runs also on a Config whose keys had errors, and stays silent about what
// follows from them. `positions` is what read_config gave. Any thread.
#pragma once

#include "conf/config.h"
#include "conf/diagnostic.h"
#include "conf/types.h"

namespace sluice::conf {

void validate(const Config& config, const Positions& positions, Diagnostics& diagnostics);

}  // namespace sluice::conf
