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

// A split as operators write it: "25", "12.5", "0.01".
inline std::string percent(conf::BasisPoints green) {
  std::string text = std::to_string(green / 100);
  if (green % 100 != 0) {
    text += '.';
    text += static_cast<char>('0' + green % 100 / 10);
    if (green % 10 != 0) text += static_cast<char>('0' + green % 10);
  }
  return text;
}

}  // namespace sluice::proxy
