#include "balancer/influence.h"

namespace sluice::balancer {

void Traffic::sample(const Origin& client, const Origin& path, uint64_t every) {
  clients_.add(client.hash, {}, every);
  paths_.add(path.hash, {}, every);
  if (clients_.total() < kMostKnown) return;
  clients_.halve();
  paths_.halve();
}

double Traffic::share(const HeavyHitters& table, uint64_t hash) {
  const HeavyHitters::Entry* entry = table.find(hash);
  if (entry == nullptr || table.total() == 0) return 0;
  return static_cast<double>(entry->estimate) / static_cast<double>(table.total());
}

bool Influence::over_allowance(const HeavyHitters& admitted, uint64_t hash, double traffic_share) const {
  const HeavyHitters::Entry* entry = admitted.find(hash);
  if (entry == nullptr) return false;
  const double allowed =
      static_cast<double>(kFreeErrors) + 2 * traffic_share * static_cast<double>(admitted_);
  return static_cast<double>(entry->guaranteed() + 1) > allowed;
}

Influence::Admission Influence::weigh(uint64_t client, uint64_t path) {
  if (traffic_.known()) {
    if (client != 0 && over_allowance(clients_, client, traffic_.client_share(client)))
      return Admission::held;
    const bool heavy_path = path != 0 && over_allowance(paths_, path, traffic_.path_share(path));
    if (heavy_path && ++thinned_ % kPathThinning != 0) return Admission::thinned;
  }
  ++admitted_;
  if (client != 0) clients_.add(client);
  if (path != 0) paths_.add(path);
  if (admitted_ == kMostAdmitted) {
    admitted_ /= 2;
    clients_.halve();
    paths_.halve();
  }
  return Admission::counted;
}

void Influence::clear() {
  clients_.clear();
  paths_.clear();
  admitted_ = 0;
  thinned_ = 0;
}

}  // namespace sluice::balancer
