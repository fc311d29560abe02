// From a document to a Config, guided by the schema.
//
// Every key is looked at: a wrong one is reported and leaves its default
// behind, so that all errors of a file show at once. What the keys mean
// together is checked afterwards (conf/validate.h). Any thread.
#pragma once

#include <cstdint>

#include "conf/config.h"
#include "conf/diagnostic.h"
#include "conf/types.h"
#include "conf/value.h"

namespace sluice::conf {

// Of a document with holes, where a line was left out, no missing key is told.
enum class Completeness : uint8_t { whole, has_holes };

// `positions` takes where each key and each section was found.
void read_config(const Value& document, Completeness completeness, Config& config, Diagnostics& diagnostics,
                 Positions& positions);

}  // namespace sluice::conf
