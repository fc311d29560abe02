// Small texts and errors that the parts of Control share.
#pragma once

#include <string>
#include <utility>

#include "conf/config.h"
#include "conf/result.h"

namespace sluice::proxy {

inline conf::Error refusal(conf::Error::Kind kind, std::string detail) {
  return {kind, conf::Error::Source::operator_, false, std::move(detail)};
}

}  // namespace sluice::proxy
