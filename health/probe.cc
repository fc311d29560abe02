#include "health/probe.h"

#include <algorithm>

namespace sluice::health {

void HttpExpectation::on_status(uint16_t status) {
  status_ = status;
  status_expected_ =
      std::any_of(settings_.status.begin(), settings_.status.end(),
                  [status](const auto& range) { return range.first <= status && status <= range.second; });
  body_found_ = settings_.body.empty();
}

void HttpExpectation::on_body(std::string_view bytes) {
  if (decided()) return;
  bytes = bytes.substr(0, kMaxBodyBytes - body_bytes_);
  body_bytes_ += bytes.size();
  tail_ += bytes;
  if (tail_.find(settings_.body) != std::string::npos) {
    body_found_ = true;
    tail_.clear();
  } else if (tail_.size() >= settings_.body.size()) {
    tail_.erase(0, tail_.size() - settings_.body.size() + 1);
  }
}

bool HttpExpectation::decided() const {
  return status_ != 0 && (!status_expected_ || body_found_ || body_bytes_ >= kMaxBodyBytes);
}

ProbeResult HttpExpectation::result() const {
  if (status_ == 0) return {ProbeResult::Kind::failed, "no answer"};
  if (!status_expected_) return {ProbeResult::Kind::failed, "status " + std::to_string(status_)};
  if (!body_found_) return {ProbeResult::Kind::failed, "the body lacks the text that was asked for"};
  return {};
}

}  // namespace sluice::health
