// From a document to a Config, guided by the schema.
//
// Every key is looked at: a wrong one is reported and leaves its default
// behind, so that all errors of a file show at once. What the keys mean
// together is checked afterwards (conf/validate.h). Any thread.
#pragma once

#include "conf/config.h"
#include "conf/diagnostic.h"
#include "conf/types.h"
#include "conf/value.h"

namespace sluice::conf {

// `positions` takes where each key and each section was found.
void read_config(const Value& document, Config& config, Diagnostics& diagnostics, Positions& positions);

}  // namespace sluice::conf
