#include "balancer/plan.h"

#include <utility>

namespace sluice::balancer {

UpstreamState::UpstreamState(std::string service, conf::Colour colour, uint32_t workers, Cap::Wake wake)
    : service_(std::move(service)),
      colour_(colour),
      name_(service_ + "/" + conf::to_string(colour)),
      connections_(std::make_shared<Cap>(name_, Cap::kUnlimited, std::move(wake))) {
  stats_.reserve(workers);
  for (uint32_t worker = 0; worker < workers; ++worker) {
    stats_.push_back(std::make_unique<UpstreamStats>());
  }
}

}  // namespace sluice::balancer
