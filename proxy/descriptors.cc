#include "proxy/descriptors.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

namespace sluice::proxy {
namespace {

// Standard streams, the admin listeners and a few of their clients, state, logs,
// the file that a reload reads, name servers.
constexpr uint64_t kOwn = 24;
constexpr uint64_t kOfLoop = 5;  // what libuv keeps open for each
constexpr uint64_t kLeastConnections = 8;
constexpr uint64_t kMost = uint64_t{1} << 30;

conf::Error failure(std::string detail) {
  return {conf::Error::Kind::io, conf::Error::Source::system, false, std::move(detail)};
}

}  // namespace

conf::Result<DescriptorBudget> divide_descriptors(uint64_t limit, const conf::Config& config,
                                                  uint32_t workers) {
  uint64_t own = kOwn + kOfLoop * (workers + 1) + config.listeners.size() * workers;
  for (const auto& [name, service] : config.services) {
    if (!service.health.enabled) continue;
    for (const conf::Upstream& upstream : service.upstreams) own += upstream.endpoints.size();
  }
  if (limit < own + kLeastConnections) {
    return failure("the limit of open files is " + std::to_string(limit) + ", at least " +
                   std::to_string(own + kLeastConnections) +
                   " are needed; raise it (ulimit -n, or LimitNOFILE in a systemd unit)");
  }
  const auto left = static_cast<uint32_t>(std::min(limit, kMost) - own);
  return DescriptorBudget{limit, left / 2, left - left / 2};
}

void share_descriptors(const DescriptorBudget& budget, uint64_t upstreams_need, balancer::Cap& clients,
                       balancer::Cap& upstream) {
  const uint32_t all = budget.connections();
  const uint64_t wanted = std::max(kKeptForUpstreams * upstreams_need, upstream.used() + upstreams_need);
  const auto kept = static_cast<uint32_t>(std::min<uint64_t>(budget.upstream, wanted + kKeptBesides));
  if (clients.max() > all - kept || upstream.max() > kept) {
    if (clients.max() > all - kept) clients.set_max(all - kept);
    if (upstream.max() > kept) upstream.set_max(kept);
    return;
  }
  const auto grow = [&](balancer::Cap& side, uint32_t part, const balancer::Cap& other) {
    const uint32_t left = all - std::min(all, std::max(other.max(), other.used()));
    if (std::min(part, left) > side.max()) side.set_max(std::min(part, left));
  };
  grow(upstream, kept, clients);
  grow(clients, all - kept, upstream);
}

conf::Result<DescriptorBudget> budget_descriptors(const conf::Config& config, uint32_t workers) {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) {
    return failure(std::string("the limit of open files is not known: ") + std::strerror(errno));
  }
  if (files.rlim_cur < files.rlim_max) {
    const rlim_t before = files.rlim_cur;
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0) files.rlim_cur = before;
  }
  return divide_descriptors(files.rlim_cur, config, workers);
}

}  // namespace sluice::proxy
